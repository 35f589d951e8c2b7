"""ONNX Runtime on a GPU, with its session and its values standing in: "255 - x"."""

import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.runtime.backends import open_backend
from support.bundles import infer_once

CUDA = "CUDAExecutionProvider"


class Value:
    """An OrtValue on the device."""

    made = 0

    def __init__(self, array, device, number):
        assert (device, number) == ("cuda", 0)
        self.array = array.copy()
        type(self).made += 1

    @classmethod
    def ortvalue_from_numpy(cls, array, device, number):
        return cls(array, device, number)

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, dtype, device, number):
        return cls(np.empty(shape, dtype), device, number)

    def update_inplace(self, array):
        assert array.shape == self.array.shape
        self.array[:] = array

    def numpy(self):
        return self.array.copy()


class Session:
    """An InferenceSession; a CUDA graph reads and writes what it was captured with."""

    refuses_graphs = False
    opened = ()

    def __init__(self, path, options, providers):
        ((name, settings),) = providers
        assert name == CUDA
        self.graph = settings.get("enable_cuda_graph") == "1"
        type(self).opened = (*self.opened, settings)
        if self.graph and self.refuses_graphs:
            raise RuntimeError("nodes have not been\npartitioned to the CUDA EP")
        self.captured = None

    def get_providers(self):
        return [CUDA, "CPUExecutionProvider"]

    def get_inputs(self):
        return [SimpleNamespace(name="frame")]

    def get_outputs(self):
        return [SimpleNamespace(name="derained")]

    def io_binding(self):
        bound = SimpleNamespace()
        bound.bind_ortvalue_input = lambda name, value: setattr(bound, name, value)
        bound.bind_ortvalue_output = lambda name, value: setattr(bound, name, value)
        return bound

    def run_with_iobinding(self, bound, options):
        if not self.graph or self.captured is None:
            self.captured = bound
        self.captured.derained.array[:] = 255 - self.captured.frame.array


def preload_dlls():
    sys.stdout.write("Failed to load x\n")


@pytest.fixture
def opened(bundles, monkeypatch):
    """Opens a bundle with the stand-in: ``opened("dynamic")``."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "OrtValue", Value)
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load x\n")
    )
    monkeypatch.setattr(Session, "opened", ())
    monkeypatch.setattr(Value, "made", 0)
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
        np.testing.assert_array_equal(derained, 255 - frame)
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
        np.testing.assert_array_equal(backend.infer(frame, memory), 255 - frame)
    assert Value.made == 6
    backend.close()


def test_a_graph_that_cannot_be_captured_costs_a_note(opened, image, monkeypatch):
    monkeypatch.setattr(Session, "refuses_graphs", True)
    backend = opened()
    assert Session.opened == ({"enable_cuda_graph": "1"}, {})
    (note,) = backend.notes
    assert note.startswith("no CUDA graph, each kernel is started alone: ")
    assert "\n" not in note
    frame = image()[None]
    np.testing.assert_array_equal(infer_once(backend, frame), 255 - frame)


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
