"""The graph of several rows on every backend that runs here, against NumPy."""

import contextlib

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import BundleError, EngineError, StateError
from derain.core.sizes import Size
from derain.runtime.backends import open_backend
from support import ort_cuda_stand_in
from support.batched_model import add_batch
from support.bundles import identity_model
from support.memory_network import Fading, clip_of

SIZE = Size(61, 45)  # padded to 64x48
NETWORK = Fading("61x45", multiple_of=4)


@pytest.fixture
def folder(tmp_path):
    return NETWORK.bundle(tmp_path / "bundle", clip_of(4, SIZE))


@pytest.fixture(params=["onnxruntime", "openvino", "onnxruntime-cuda"])
def opened(request, folder, monkeypatch):
    """A backend, and its graph of three rows."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    if request.param == "onnxruntime-cuda":
        ort_cuda_stand_in.put_in_place(monkeypatch)
    add_batch(folder, 3)
    with contextlib.ExitStack() as stack:
        backend = open_backend(request.param, Bundle.open(folder))
        stack.callback(backend.close)
        graph = backend.open_batch()
        stack.callback(graph.close)
        yield backend, graph


def test_what_a_camera_remembers_follows_it_from_row_to_row(opened):
    """In any row, in any company, alone in the other graph: as if it were alone."""
    backend, graph = opened
    clips = [clip_of(6, SIZE, seed) for seed in (1, 2, 3)]
    memories = [backend.new_memory() for _ in clips]
    got = [[] for _ in clips]
    for index, order in enumerate(([0, 1, 2], [2, 0], [1], [2, 1, 0], [0, 2], [1, 2])):
        frames = [clips[each][len(got[each])][None] for each in order]
        outcomes = graph.infer(frames, [memories[each] for each in order])
        for each, outcome in zip(order, outcomes, strict=True):
            got[each].append(outcome[0].copy())
        if index == 2:  # one goes through the graph of one frame
            frame = clips[0][len(got[0])][None]
            got[0].append(backend.infer(frame, memories[0])[0].copy())
    for clip, made in zip(clips, got, strict=True):
        assert len(made) >= 4
        np.testing.assert_array_equal(made, NETWORK.derain(clip)[: len(made)])


def test_a_memory_that_is_spoiled_is_that_of_one_row(opened):
    backend, graph = opened
    clips = [clip_of(4, SIZE, seed) for seed in (1, 2)]
    wanted = [NETWORK.derain(clip) for clip in clips]
    memories = [backend.new_memory() for _ in clips]
    graph.infer([clip[0][None] for clip in clips], memories)
    white = np.full_like(clips[0][0], 255)[None]
    spoiled, good = graph.infer([white, clips[1][1][None]], memories)
    assert isinstance(spoiled, StateError)
    np.testing.assert_array_equal(good[0], wanted[1][1])
    fresh, good = graph.infer([clips[0][0][None], clips[1][2][None]], memories)
    np.testing.assert_array_equal(fresh[0], wanted[0][0])  # a first frame again
    np.testing.assert_array_equal(good[0], wanted[1][2])


def test_reset_is_of_one_camera(opened):
    backend, graph = opened
    clips = [clip_of(3, SIZE, seed) for seed in (1, 2)]
    memories = [backend.new_memory() for _ in clips]
    graph.infer([clip[0][None] for clip in clips], memories)
    memories[0].reset()
    first, second = graph.infer([clip[1][None] for clip in clips], memories)
    np.testing.assert_array_equal(first[0], NETWORK.derain(clips[0][1:])[0])
    np.testing.assert_array_equal(second[0], NETWORK.derain(clips[1])[1])


def test_the_memory_of_another_backend_is_refused(opened, folder):
    backend, graph = opened
    other = type(backend)(Bundle.open(folder))
    with pytest.raises(EngineError, match="of another backend"):
        graph.infer([clip_of(1, SIZE)[0][None]], [other.new_memory()])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_graph_that_is_not_as_often_the_first_is_refused(name, folder, tmp_path):
    if name == "openvino":
        pytest.importorskip("openvino")
    other = tmp_path / "other.onnx"
    other.write_bytes(identity_model(NETWORK.sizes).SerializeToString())
    add_batch(folder, 2, [folder / "model.onnx", other])
    backend = open_backend(name, Bundle.open(folder))
    with pytest.raises(EngineError, match=r"is not 2 times the graph .* row_1_"):
        backend.open_batch()


def test_a_bundle_without_its_second_graph_is_damaged(folder):
    add_batch(folder, 2)
    assert Bundle.open(folder).manifest.batch == 2
    (folder / "model-batch.onnx").unlink()
    with pytest.raises(BundleError, match=r"model-batch.onnx is missing"):
        Bundle.open(folder)
