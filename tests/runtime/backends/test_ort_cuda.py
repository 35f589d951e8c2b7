"""ONNX Runtime on a GPU, with its session and its values standing in."""

import numpy as np
import onnxruntime
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.runtime.backends import open_backend
from support import ort_cuda_stand_in
from support.bundles import infer_once
from support.memory_network import Fading, clip_of
from support.ort_cuda_stand_in import Session, Value


@pytest.fixture
def opened(bundles, monkeypatch):
    """Opens a bundle with the stand-in: ``opened("dynamic")``."""
    ort_cuda_stand_in.put_in_place(monkeypatch)
    return lambda name="darken": open_backend(
        "onnxruntime-cuda", Bundle.open(bundles(name))
    )


def test_frames_of_one_size_go_through_the_same_buffers(opened, image):
    backend = opened()
    assert Session.opened == ({"enable_cuda_graph": "1"},)
    frames = [image(shift=shift)[None] for shift in range(4)]
    for frame, derained in zip(
        frames, backend.stream(frames, backend.new_memory()), strict=True
    ):
        np.testing.assert_array_equal(derained, frame >> 1)
        assert min(backend.times.upload_ms, backend.times.download_ms) >= 0
        assert backend.times.compute_ms > 0
    assert Value.made == 2
    assert backend.notes == []
    backend.close()
    backend.close()


def test_a_range_of_sizes_has_no_graph_and_buffers_for_one_at_a_time(opened, image):
    backend = opened("dynamic")
    assert Session.opened == ({},)
    memory = backend.new_memory()
    for size in (Size(64, 48), Size(64, 48), Size(32, 32), Size(64, 48)):
        frame = image(size)[None]
        np.testing.assert_array_equal(backend.infer(frame, memory), frame >> 1)
    assert Value.made == 6
    backend.close()


def test_states_have_two_sets_of_buffers_and_a_graph_for_each(tmp_path, monkeypatch):
    network, clip = Fading("64x48"), clip_of(5, Size(64, 48))
    bundle = Bundle.open(network.bundle(tmp_path / "bundle", clip))
    ort_cuda_stand_in.put_in_place(monkeypatch)
    backend = open_backend("onnxruntime-cuda", bundle)
    memories = [backend.new_memory() for _ in range(2)]
    for _ in range(2):
        for frame, wanted in zip(clip, network.derain(clip), strict=True):
            for memory in memories:
                got = backend.infer(frame[None], memory)
                np.testing.assert_array_equal(got[0], wanted)
        for memory in memories:
            memory.reset()
    # Each: two sets of two states, the frame, its result and the states' health.
    assert Value.made == 2 * 7
    assert len(backend._session.captured) == 2 * 2


def test_a_graph_that_cannot_be_captured_costs_a_note(opened, image, monkeypatch):
    monkeypatch.setattr(Session, "refuses_graphs", True)
    backend = opened()
    assert Session.opened == ({"enable_cuda_graph": "1"}, {})
    (note,) = backend.notes
    assert note.startswith("no CUDA graph, each kernel is started alone: ")
    assert "\n" not in note
    frame = image()[None]
    np.testing.assert_array_equal(infer_once(backend, frame), frame >> 1)


def test_cuda_from_pip_is_loaded_and_what_it_prints_is_a_detail(opened, capsys, caplog):
    caplog.set_level("DEBUG", "derain")
    opened().close()
    assert capsys.readouterr().out == ""
    assert "Failed to load x" in caplog.messages


def test_a_failure_on_the_device_is_one_line(opened, image, monkeypatch):
    def fail(self, bound, options):
        raise RuntimeError("CUDA failure 700:\nan illegal access")

    monkeypatch.setattr(Session, "run_with_iobinding", fail)
    with pytest.raises(EngineError, match=r"^onnxruntime failed: CUDA failure 700: an"):
        infer_once(opened(), image()[None])


def test_on_a_jetson_there_is_nothing_to_install(bundles, monkeypatch):
    providers = ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(EngineError, match="none to install for aarch64; on a Jetson"):
        open_backend("onnxruntime-cuda", Bundle.open(bundles("darken")))
