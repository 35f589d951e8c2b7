"""What an engine remembers between frames: where, in which order, and until when.

The device records and the engine stands in: see tests/support.
"""

import contextlib
import gc
from collections import Counter

import numpy as np
import pytest

from derain.core.errors import EngineError, ShapeError, StateError
from derain.core.sizes import Size
from derain.runtime.backends.protocol import NoMemory
from derain.runtime.tensorrt.engine_memory import EngineMemory
from support.recording_cuda import MisuseError, RecordingDevice
from support.tensorrt_stand_in import (
    BOTH,
    NUMBERS,
    POISON,
    WINDOW,
    assert_same,
    remembered,
)

ORDERS = [("lazy", 0), ("eager", 0), *(("random", seed) for seed in range(5))]
RANGE = "32x32,64x48,128x96"


def copies(frames):
    """What came out of a stream, copied before the next one is asked for."""
    return [frame.copy() for frame in frames]


def one_by_one(backend, frames, memory):
    return [backend.infer(frame, memory).copy() for frame in frames]


def poisoned(frame):
    """`frame`, but it makes the states of the network NaN."""
    frame = frame.copy()
    frame.flat[0] = POISON
    return frame


@pytest.fixture
def healthy(frames):
    """Frames of which none is poisoned: ``healthy(5)``."""

    def make(count, size=Size(64, 48)):  # noqa: B008 - immutable
        many = frames(count, size)
        for frame in many:
            frame.flat[0] = POISON + 1
        return many

    return make


@pytest.mark.parametrize(("order", "seed"), ORDERS)
@pytest.mark.parametrize("integrated", [False, True], ids=["card", "jetson"])
@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
@pytest.mark.parametrize("mapped_ms", [3.0, 50.0], ids=["mapped", "copied"])
@pytest.mark.parametrize("states", [WINDOW, BOTH], ids=["window", "both"])
def test_every_order_remembers_the_right_frames(
    opened, healthy, order, seed, integrated, graphs, mapped_ms, states
):
    backend = opened(
        order=order,
        seed=seed,
        integrated=integrated,
        graphs=graphs,
        states=states,
        change=lambda library: setattr(library, "mapped_ms", mapped_ms),
    )
    many, own = healthy(27), backend.own
    got = one_by_one(backend, many[:9], own)
    got += copies(backend.stream(many[9:22], own))  # it goes on from there
    got += one_by_one(backend, many[22:], own)
    assert_same(got, remembered(many, states))


@pytest.mark.parametrize(("order", "seed"), ORDERS)
def test_a_reset_makes_the_next_frame_a_first_one(opened, healthy, order, seed):
    backend, many = opened(states=BOTH, order=order, seed=seed), healthy(24)
    resets = {5, 6, 13, 20}

    def source(start, stop):
        for index in range(start, stop):
            if index in resets:
                backend.own.reset()  # while frames before it are on their way
            yield many[index]

    got = one_by_one(backend, source(0, 9), backend.own)
    got += copies(backend.stream(source(9, 24), backend.own))
    assert_same(got, remembered(many, BOTH, first=resets))


@pytest.mark.parametrize(("order", "seed"), ORDERS)
def test_another_size_is_a_first_frame(opened, healthy, order, seed):
    backend = opened(RANGE, states=BOTH, order=order, seed=seed)
    small, large = healthy(6, Size(32, 34)), healthy(6, Size(128, 96))
    mixed = [*small[:4], *large[:4], small[4], large[4], *small[:3], *large]
    assert_same(copies(backend.stream(mixed, backend.own)), remembered(mixed, BOTH))
    own = backend.new_memory()
    assert_same(one_by_one(backend, mixed, own), remembered(mixed, BOTH))


@pytest.mark.parametrize(("order", "seed"), ORDERS)
@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
def test_several_cameras_on_one_engine(opened, healthy, order, seed, graphs):
    backend = opened(RANGE, states=BOTH, order=order, seed=seed, graphs=graphs)
    cameras = [healthy(8), [f + np.uint8(9) for f in healthy(8)]]
    cameras.append(healthy(8, Size(32, 32)))
    memories = [backend.new_memory() for _ in cameras]
    got = [[] for _ in cameras]
    for index in range(8):
        for camera, memory, derained in zip(cameras, memories, got, strict=True):
            derained += one_by_one(backend, [camera[index]], memory)
    for camera, derained in zip(cameras, got, strict=True):
        assert_same(derained, remembered(camera, BOTH))


@pytest.mark.parametrize(("order", "seed"), ORDERS)
def test_streams_of_several_cameras_one_after_the_other(opened, healthy, order, seed):
    backend = opened(states=BOTH, order=order, seed=seed)
    cameras = [healthy(42), [frame + np.uint8(9) for frame in healthy(42)]]
    memories = [backend.own, backend.new_memory()]
    got = [[], []]
    for start in (0, 14, 28):
        for camera, memory, derained in zip(cameras, memories, got, strict=True):
            part = camera[start : start + 14]
            derained += copies(backend.stream(part, memory))
    assert backend.device.live["graph"] == 2 * 2 * 3
    for camera, derained in zip(cameras, got, strict=True):
        assert_same(derained, remembered(camera, BOTH))


def test_nothing_is_made_for_a_frame(opened, healthy):
    backend, many = opened(states=BOTH), healthy(12)
    copies(backend.stream(many, backend.own))
    one_by_one(backend, many[:4], backend.own)
    assert backend.device.live["device memory"] == 3 * 2 + 2 * len(BOTH)
    assert backend.device.live["graph"] == 2 * 3 + 2  # either turn of three slots
    made = Counter(backend.device.made)
    for _ in range(20):
        copies(backend.stream(many[:5], backend.own))
        backend.own.reset()
        one_by_one(backend, many[:3], backend.own)
    assert backend.device.made == made


def test_infer_is_one_graph_for_either_turn_and_copies_no_state(opened, healthy):
    backend = opened(states=BOTH)
    one_by_one(backend, healthy(4), backend.own)
    assert backend.device.made["graph"] == 2
    backend.device.calls.clear()
    one_by_one(backend, healthy(2), backend.own)
    assert backend.device.calls == 2 * ["launch graph", "synchronize stream"]


def test_states_cost_a_stream_no_call_more(opened, healthy):
    """Uploads and downloads still run beside the network, which keeps its order."""

    def calls(states):
        backend, many = opened(states=states), healthy(30)
        with contextlib.closing(backend.stream(many, backend.own)) as stream:
            for _ in range(20):
                next(stream)
            backend.device.calls.clear()
            next(stream)
            working = [
                work
                for work in backend.device.pending
                if work.name in ("upload", "network", "download")
            ]
            by_name = {
                name: {work.stream for work in working if work.name == name}
                for name in ("upload", "network", "download")
            }
        return list(backend.device.calls), by_name

    with_states, streams = calls(BOTH)
    without, _ = calls(())
    assert with_states == without
    assert "wait" in without
    assert [len(each) for each in streams.values()] == [1, 1, 1]
    assert len(set.union(*streams.values())) == 3


def test_the_health_comes_with_the_frame_in_one_copy(opened, healthy, monkeypatch):
    sizes = {}
    for name, states in (("window", WINDOW), ("both", BOTH)):
        backend = opened(states=states)
        download = backend.device.download
        counts = sizes[name] = []

        def noting(target, source, count, stream, download=download, counts=counts):
            counts.append(count)
            download(target, source, count, stream)

        monkeypatch.setattr(backend.device, "download", noting)
        one_by_one(backend, healthy(1), backend.own)
    assert sizes == {"window": [9216], "both": [9216 + 256]}


@pytest.mark.parametrize(("order", "seed"), ORDERS)
def test_one_bad_frame_does_not_poison_the_rest(opened, healthy, order, seed):
    backend, many = opened(states=BOTH, order=order, seed=seed), healthy(12)
    other, bad = backend.new_memory(), poisoned(healthy(1)[0])
    got = one_by_one(backend, many[:5], backend.own)
    before = one_by_one(backend, many[:3], other)
    with pytest.raises(StateError, match="a state is not finite; all of them were re"):
        backend.infer(bad, backend.own)
    got += one_by_one(backend, many[5:], backend.own)
    assert_same(got, remembered(many, BOTH, first={5}))
    before += one_by_one(backend, many[3:], other)
    assert_same(before, remembered(many, BOTH))


@pytest.mark.parametrize("where", range(6))
def test_a_stream_is_over_where_a_state_is_not_finite(opened, healthy, where):
    backend, many = opened(states=BOTH), healthy(6)
    bad, got = list(many), []
    bad[where] = poisoned(bad[where])
    with pytest.raises(StateError, match="not finite"):
        got.extend(f.copy() for f in backend.stream(bad, backend.own))
    assert_same(got, remembered(many[:where], BOTH))
    assert not backend.device.pending
    assert_same(copies(backend.stream(many, backend.own)), remembered(many, BOTH))


def test_frames_have_no_health(opened, healthy):
    backend = opened(states=WINDOW)
    one_by_one(backend, [poisoned(frame) for frame in healthy(3)], backend.own)


def test_a_frame_that_fails_is_no_part_of_the_memory(opened, healthy):
    backend, many = opened(states=BOTH), healthy(8)
    got = one_by_one(backend, many[:3], backend.own)
    backend.library.enqueue_fails = True
    with pytest.raises(EngineError, match="it went wrong"):
        backend.infer(many[3], backend.own)
    backend.library.enqueue_fails = False
    got += one_by_one(backend, many[3:], backend.own)
    assert_same(got, remembered(many, BOTH, first={3}))


def test_a_frame_of_a_wrong_size_is_not_noticed(opened, healthy):
    backend, many = opened(states=BOTH), healthy(4)
    got = one_by_one(backend, many[:2], backend.own)
    with pytest.raises(ShapeError, match="frame is 32x32"):
        backend.infer(healthy(1, Size(32, 32))[0], backend.own)
    got += one_by_one(backend, many[2:], backend.own)
    assert_same(got, remembered(many, BOTH))


def test_a_closed_memory_is_freed_and_refused(opened, healthy):
    backend, many = opened(states=BOTH), healthy(6)
    used = Counter(backend.device.live)
    memory = backend.new_memory()
    one_by_one(backend, many, memory)
    assert backend.device.live["device memory"] == used["device memory"] + 8
    memory.close()
    memory.close()
    assert backend.device.live == used
    with pytest.raises(EngineError, match="this memory is closed, or of another backe"):
        backend.infer(many[0], memory)
    with pytest.raises(EngineError, match="ask for a new one"):
        next(backend.stream(many, memory))
    for stranger in (NoMemory(), opened(states=BOTH).own):
        with pytest.raises(EngineError, match="of another backend"):
            backend.infer(many[0], stranger)


def test_a_memory_that_is_closed_in_the_middle_of_its_stream(opened, healthy):
    backend = opened(states=BOTH)
    stream = backend.stream(healthy(6), backend.own)
    next(stream)
    backend.own.close()
    with pytest.raises(EngineError, match="this memory is closed"):
        next(stream)
    assert not backend.device.pending


def test_memories_are_freed_with_the_backend(opened, healthy):
    backend = opened(states=BOTH)
    memories = [backend.new_memory() for _ in range(3)]
    for memory in memories:
        one_by_one(backend, healthy(6), memory)
    backend.close()
    assert not +backend.device.live
    assert backend.device.closed == 1
    for memory in memories:
        memory.reset()
        memory.close()
    with pytest.raises(EngineError, match="is closed; open the bundle again"):
        backend.new_memory()


def test_without_states_nothing_is_kept(opened, healthy):
    backend = opened()
    assert isinstance(backend.new_memory(), NoMemory)
    one_by_one(backend, healthy(3), NoMemory())
    assert backend.device.live["device memory"] == 2


# That the simulator would see it.


def test_states_that_nobody_started_are_seen(opened, healthy, monkeypatch):
    backend = opened(states=BOTH, close=False)
    monkeypatch.setattr(EngineMemory, "start", lambda self, slot, stream: None)
    with pytest.raises(MisuseError, match="network reads what nothing has written"):
        backend.infer(healthy(1)[0], backend.own)


@pytest.mark.parametrize("ordered", [False, True], ids=["not ordered", "ordered"])
def test_networks_on_two_streams_are_seen(opened, healthy, ordered):
    """The second would read what the first still writes, were it not for an event."""
    backend, many = opened(states=NUMBERS, close=False), healthy(2)
    backend._slots.append(backend._make_slot(mapped=False))
    first, second = backend._slots
    backend._submit(first, many[0], backend.own)
    backend._stream = backend.device.stream()
    if ordered:
        first.wait_for_compute(backend._stream)
        backend._submit(second, many[1], backend.own)
        backend._synchronize()
        wanted = remembered(many, NUMBERS)
        assert_same([first.derained, second.derained], wanted)
    else:
        with pytest.raises(MisuseError, match="network uses memory that network may"):
            backend._submit(second, many[1], backend.own)


def test_a_state_that_is_written_while_it_is_read_is_seen():
    device = RecordingDevice()
    first, second, event = device.stream(), device.stream(), device.event()
    a, b, c = (device.device_memory(64) for _ in range(3))
    device.clear(a, 64, first)
    device.copy(b, a, 64, first)
    event.record(first)
    for misuse in (
        lambda: device.clear(a, 64, second),  # it is still read
        lambda: device.clear(b, 64, second),  # it is still written
        lambda: device.copy(c, b, 64, second),
    ):
        with pytest.raises(
            MisuseError, match=r"uses memory that (copy|clear) may still"
        ):
            misuse()
    device.copy(c, a, 0, second)  # not a byte of it
    second.wait(event)
    device.clear(a, 64, second)
    second.synchronize()
    first.synchronize()
    for resource in (first, second, event, a, b, c):
        resource.close()
    gc.collect()
    device.close()
