"""States on every backend that runs here, against the same network in NumPy."""

import contextlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, StateError
from derain.core.sizes import Size
from derain.core.states import StateSpec
from derain.runtime.backends import open_backend
from derain.runtime.backends.protocol import NoMemory
from support import ort_cuda_stand_in
from support.bundles import infer_once
from support.memory_network import Fading, Feedback, Seeing, clip_of

SIZE = Size(61, 45)  # padded to 64x48
STATIC = Fading("61x45", multiple_of=4)
HALF = Fading("61x45", multiple_of=4, dtype="float16")
DYNAMIC = Fading("32x32,64x48,128x96")


@pytest.fixture(params=["onnxruntime", "openvino", "onnxruntime-cuda"])
def opened(request, tmp_path, monkeypatch):
    """Opens a network on each backend: ``opened(STATIC)``; closed in the end."""
    name = request.param
    if name == "openvino":
        pytest.importorskip("openvino")
    with contextlib.ExitStack() as stack:

        def open_network(network):
            size = network.sizes.optimum
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            network.bundle(folder, clip_of(4, size))
            if name == "onnxruntime-cuda":
                ort_cuda_stand_in.put_in_place(monkeypatch)
            backend = open_backend(name, Bundle.open(folder))
            stack.callback(backend.close)
            return backend

        yield open_network


def run(backend, frames, memory):
    """The derained `frames`, copied, each `(H, W, 3)`."""
    return [backend.infer(frame[None], memory)[0].copy() for frame in frames]


def assert_same(got, wanted, levels=0):
    assert len(got) == len(wanted)
    for index, (one, other) in enumerate(zip(got, wanted, strict=True)):
        difference = np.abs(one.astype(int) - other).max()
        assert difference <= levels, f"frame {index}"


def is_of(backend, name):
    return name in backend.description


def levels(backend, network):
    """How far a backend may be off: OpenVINO rounds no result to FP16 and back."""
    return int(network is HALF and is_of(backend, "openvino"))


@pytest.mark.parametrize("network", [STATIC, HALF, DYNAMIC], ids=["", "half", "range"])
def test_a_clip_is_what_numpy_makes_of_it(opened, network):
    backend, clip = opened(network), clip_of(9, network.sizes.optimum)
    wanted = network.derain(clip)
    off = levels(backend, network)
    assert_same(run(backend, clip, backend.new_memory()), wanted, off)
    streamed = backend.stream((frame[None] for frame in clip), backend.new_memory())
    assert_same([frame[0].copy() for frame in streamed], wanted, off)


def test_states_that_are_frames_alone(opened):
    network, clip = Seeing("64x48"), clip_of(6, Size(64, 48))
    backend = opened(network)
    got = run(backend, [*clip, clip[-1]], backend.new_memory())
    assert_same(got[1:], network.derain(clip))


def test_a_picture_that_is_a_state_too(opened):
    network, clip = Feedback("64x48"), clip_of(6, Size(64, 48))
    backend = opened(network)
    for _ in range(2):
        got = run(backend, clip, backend.new_memory())
        assert_same(got, network.derain(clip))


def test_memories_know_nothing_of_each_other(opened):
    backend = opened(STATIC)
    clips = [clip_of(6, SIZE, seed) for seed in range(3)]
    memories = [backend.new_memory() for _ in clips]
    got = [[], [], []]
    for frames in zip(*clips, strict=True):
        for clip, frame, memory in zip(got, frames, memories, strict=True):
            clip.extend(run(backend, [frame], memory))
    for clip, frames in zip(got, clips, strict=True):
        assert_same(clip, STATIC.derain(frames))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_after_a_reset_a_clip_begins(opened, count):
    backend, clip = opened(STATIC), clip_of(5, SIZE)
    memory = backend.new_memory()
    run(backend, clip_of(count, SIZE, seed=1), memory)
    memory.reset()
    memory.reset()
    assert_same(run(backend, clip, memory), STATIC.derain(clip))


def test_another_size_begins_another_clip(opened):
    backend = opened(DYNAMIC)
    memory = backend.new_memory()
    for size in (Size(64, 48), Size(32, 32), Size(128, 96), Size(64, 48)):
        clip = clip_of(3, size)
        assert_same(run(backend, clip, memory), DYNAMIC.derain(clip))


@pytest.mark.parametrize("network", [STATIC, HALF], ids=["", "half"])
def test_one_bad_frame_poisons_nothing(opened, network):
    backend, clip = opened(network), clip_of(5, SIZE)
    memory, other = backend.new_memory(), backend.new_memory()
    run(backend, clip, memory)
    run(backend, clip[:2], other)
    with pytest.raises(StateError, match="no longer finite") as caught:
        backend.infer(np.full_like(clip[0], 255)[None], memory)
    assert "\n" not in str(caught.value)
    wanted, off = network.derain(clip), levels(backend, network)
    assert_same(run(backend, clip, memory), wanted, off)
    assert_same(run(backend, clip[2:], other), wanted[2:], off)


def test_a_stream_goes_on_from_its_memory_and_ends_with_a_bad_frame(opened):
    backend, clip = opened(STATIC), clip_of(5, SIZE)
    memory = backend.new_memory()
    run(backend, clip[:2], memory)
    white, got = np.full_like(clip[0], 255), []
    with pytest.raises(StateError):
        got.extend(
            frame[0].copy()
            for frame in backend.stream((x[None] for x in [*clip[2:], white]), memory)
        )
    assert_same(run(backend, clip, memory), STATIC.derain(clip))


def test_a_frame_allocates_nothing(opened):
    """By Python and NumPy, which hold what is bound: less than a few rows."""
    network = Fading("640x480")
    backend, clip = opened(network), clip_of(4, Size(640, 480))
    if is_of(backend, "CUDA"):
        return  # see test_ort_cuda
    memory = backend.new_memory()
    tracemalloc.start()
    try:
        run_often(backend, clip, memory)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run_often(backend, clip, memory)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A frame has 921,600 bytes; other threads of the tests allocate a little.
    assert peak - before < 16_384
    assert after - before < 8_192


def run_often(backend, clip, memory):
    for _ in range(5):
        for frame in clip:
            backend.infer(frame[None], memory)


def test_a_memory_that_is_closed_or_of_another_backend_is_one_line(opened):
    backend, frame = opened(STATIC), clip_of(1, SIZE)[0][None]
    memory = backend.new_memory()
    backend.infer(frame, memory)
    memory.close()
    memory.close()
    memory.reset()
    with pytest.raises(EngineError, match="this memory is closed; make a new one"):
        backend.infer(frame, memory)
    for other in (opened(STATIC).new_memory(), NoMemory()):
        with pytest.raises(EngineError, match="this memory is of another backend"):
            backend.infer(frame, other)


def test_states_that_fit_no_such_frame_are_one_line(opened):
    backend = opened(DYNAMIC)
    # A manifest that says nothing of padding, as a damaged one may.
    backend._manifest = replace(backend._manifest, network={})
    frame = clip_of(1, Size(33, 33))[0][None]
    with pytest.raises(EngineError, match=r"33x33.*height/2.*not a whole number"):
        infer_once(backend, frame)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_graph_with_other_states_than_its_manifest_is_one_line(tmp_path, name):
    if name == "openvino":
        pytest.importorskip("openvino")
    bundle = Bundle.open(STATIC.bundle(tmp_path / "bundle", clip_of(4, SIZE)))
    more = StateSpec(name="state_2", shape=(1,), dtype="float32")
    for states in ((), (*STATIC.states, more)):
        manifest = replace(bundle.manifest, states=states)
        with pytest.raises(EngineError, match=r"has states .*; export it again"):
            open_backend(name, replace(bundle, manifest=manifest))
