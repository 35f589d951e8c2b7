"""What the TensorRT backend does, in which order; without a GPU.

The device records and the engine stands in: see tests/support.
"""

import contextlib
import gc
import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from derain.core.errors import EngineError, ShapeError
from derain.core.sizes import Size
from derain.runtime import Bundle, Derainer
from derain.runtime.backends import open_backend
from derain.runtime.backends.protocol import NoMemory
from derain.runtime.tensorrt import open_engine
from derain.runtime.tensorrt.engine_backend import TensorRtBackend
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine
from support.recording_cuda import RecordingDevice
from support.tensorrt_stand_in import BOTH, Library, assert_same, remembered

ORDERS = [("lazy", 0), ("eager", 0), *(("random", seed) for seed in range(5))]
RANGE = "32x32,64x48,128x96"


def copies(frames):
    """What came out of a stream, copied before the next one is asked for."""
    return [frame.copy() for frame in frames]


def assert_inverted(got, frames):
    assert len(got) == len(frames)
    for index, (derained, rainy) in enumerate(zip(got, frames, strict=True)):
        np.testing.assert_array_equal(derained, 255 - rainy, err_msg=f"frame {index}")


@pytest.mark.parametrize(("order", "seed"), ORDERS)
@pytest.mark.parametrize("integrated", [False, True], ids=["card", "jetson"])
@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
@pytest.mark.parametrize("mapped_ms", [3.0, 50.0], ids=["mapped", "copied"])
def test_every_order_gives_the_right_frames(
    opened, frames, order, seed, integrated, graphs, mapped_ms
):
    backend = opened(
        order=order,
        seed=seed,
        integrated=integrated,
        graphs=graphs,
        change=lambda library: setattr(library, "mapped_ms", mapped_ms),
    )
    many = frames(9)
    assert_inverted([backend.infer(frame, backend.own).copy() for frame in many], many)
    assert_inverted(copies(backend.stream(many, backend.own)), many)
    assert_inverted([backend.infer(frame, backend.own).copy() for frame in many], many)


@pytest.mark.parametrize(("order", "seed"), ORDERS)
def test_sizes_may_change_between_frames(opened, frames, order, seed):
    backend = opened(RANGE, order=order, seed=seed)
    small, large = frames(4, Size(32, 33)), frames(4, Size(128, 96))
    mixed = [*small, *large, small[0], large[0], small[1], *large, *large]
    assert_inverted(copies(backend.stream(mixed, backend.own)), mixed)
    assert_inverted(
        [backend.infer(frame, backend.own).copy() for frame in mixed], mixed
    )


def test_a_frame_may_be_changed_once_the_next_is_asked_for(opened, frames):
    many, buffer = frames(6), np.empty((1, 48, 64, 3), np.uint8)

    def one_buffer():
        for frame in many:
            buffer[:] = frame
            yield buffer

    assert_inverted(copies(opened().stream(one_buffer(), NoMemory())), many)


def test_infer_is_one_graph_from_the_second_frame_on(opened, frames):
    backend = opened()
    calls = backend.device.calls
    for frame in frames(3):
        backend.infer(frame, backend.own)
    calls.clear()
    backend.infer(frames(1)[0], backend.own)
    assert calls == ["launch graph", "synchronize stream"]


def test_nothing_is_made_for_a_frame(opened, frames):
    backend = opened()
    copies(backend.stream(frames(8), backend.own))
    for frame in frames(2):
        backend.infer(frame, backend.own)
    made = Counter(backend.device.made)
    for _ in range(20):
        copies(backend.stream(frames(5), backend.own))
        backend.infer(frames(1)[0], backend.own)
    assert backend.device.made == made


def test_copies_overlap_with_the_network(opened, frames):
    """While one frame is looked at, the next two are on their way."""
    backend = opened()
    stream = backend.stream(frames(5), backend.own)
    next(stream)
    uploads = backend.device.calls.count("upload")
    assert uploads == 3
    used = {
        work.stream
        for work in backend.device.pending
        if work.name in ("upload", "network", "download")
    }
    assert len(used) == 3
    stream.close()


def test_graphs_are_kept_for_one_size_alone(opened, frames):
    backend = opened(RANGE)
    for size in (Size(32, 32), Size(64, 48), Size(128, 96)):
        for _ in range(2):
            copies(backend.stream(frames(6, size), backend.own))
        backend.infer(frames(1, size)[0], backend.own)
        backend.infer(frames(1, size)[0], backend.own)
        assert backend.device.live["graph"] == 4  # three slots, and infer


def test_alternating_sizes_are_not_captured(opened, frames):
    backend = opened(RANGE)
    for _ in range(4):
        backend.infer(frames(1, Size(32, 32))[0], backend.own)
        backend.infer(frames(1, Size(64, 48))[0], backend.own)
    assert backend.device.made["graph"] == 0


@pytest.mark.parametrize("name", ["upload", "network"])
def test_what_cannot_be_captured_runs_without_a_graph_and_says_so(opened, frames, name):
    backend = opened(refuse=name)
    many = frames(5)
    assert_inverted([backend.infer(frame, backend.own).copy() for frame in many], many)
    assert backend.notes == [
        "no CUDA graph, each kernel is started alone: "
        "cudaStreamEndCapture: it cannot be captured"
    ]
    assert_inverted(copies(backend.stream(many, backend.own)), many)
    assert len(backend.notes) == 1
    assert backend.device.live["graph"] == 0


def test_tensorrt_rtx_is_asked_before_a_capture(opened, frames):
    def refuse(library):
        library.capturable = False

    backend = opened(name="tensorrt-rtx", change=refuse)
    many = frames(3)
    assert_inverted([backend.infer(frame, backend.own).copy() for frame in many], many)
    assert "begin capture" not in backend.device.calls
    (note,) = backend.notes
    assert "tensorrt-rtx 10.3.0 cannot be captured" in note


def test_without_graphs_there_is_a_note(opened):
    (note,) = opened(graphs=False).notes
    assert "has no CUDA graphs" in note


@pytest.mark.parametrize(("mapped_ms", "kind"), [(3.0, "mapped"), (9.0, "copies")])
def test_on_a_jetson_the_faster_memory_is_chosen(opened, mapped_ms, kind, frames):
    backend = opened(
        integrated=True,
        change=lambda library: setattr(library, "mapped_ms", mapped_ms),
    )
    assert kind in backend.description
    assert backend.device.live["host memory"] == 2  # the other one is freed
    assert backend.device.live["device memory"] == (0 if kind == "mapped" else 2)
    backend.device.calls.clear()
    copies(backend.stream(frames(4), backend.own))
    assert ("upload" in backend.device.calls) == (kind == "copies")


def test_on_a_card_nothing_is_tried(opened):
    backend = opened()
    assert "copies" in backend.description
    assert backend.library.runs == 0


def test_times_of_each_stage(opened, frames):
    backend = opened()
    assert backend.times is None
    for frame in frames(3):  # plain, captured, graph
        backend.infer(frame, backend.own)
        times = backend.times
        assert (times.upload_ms, times.compute_ms, times.download_ms) == (1, 4, 1)
    for _ in backend.stream(frames(5), backend.own):
        # The stages of several frames overlap: none is shorter than it would be alone.
        times = backend.times
        assert times.upload_ms >= 1
        assert times.compute_ms >= 4
        assert times.download_ms >= 1


def test_times_of_mapped_memory_have_no_copies(opened, frames):
    backend = opened(
        integrated=True, change=lambda library: setattr(library, "mapped_ms", 2.0)
    )
    backend.infer(frames(1)[0], backend.own)
    times = backend.times
    assert (times.upload_ms, times.compute_ms, times.download_ms) == (0, 2, 0)


@pytest.mark.parametrize("count", range(6))
def test_a_source_that_fails_loses_no_frame(opened, frames, count):
    backend, many = opened(), frames(6)

    def source():
        yield from many[:count]
        raise OSError("the cable was pulled")

    got = []
    with pytest.raises(OSError, match="the cable was pulled"):
        got.extend(frame.copy() for frame in backend.stream(source(), backend.own))
    assert_inverted(got, many[:count])
    assert not backend.device.pending
    assert_inverted(copies(backend.stream(many, backend.own)), many)


@pytest.mark.parametrize("count", range(1, 6))
def test_a_consumer_may_stop_early(opened, frames, count):
    backend, many = opened(), frames(6)
    got = []
    with contextlib.closing(backend.stream(many, backend.own)) as stream:
        for frame in stream:
            got.append(frame.copy())
            if len(got) == count:
                break
    assert not backend.device.pending
    assert_inverted(got, many[:count])
    assert_inverted([backend.infer(many[0], backend.own)], many[:1])


def test_a_consumer_that_fails_leaves_nothing_running(opened, frames):
    backend = opened()
    with pytest.raises(OSError, match="disk full"):  # noqa: PT012
        for _ in backend.stream(frames(6), backend.own):
            raise OSError("disk full")
    gc.collect()
    assert not backend.device.pending


def test_an_interrupt_in_the_source_leaves_nothing_running(opened, frames):
    backend = opened()

    def source():
        yield from frames(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copies(backend.stream(source(), backend.own))
    assert not backend.device.pending


def test_no_frames_are_no_frames(opened):
    assert copies(opened().stream([], NoMemory())) == []


def test_infer_and_streams_exclude_each_other(opened, frames):
    backend = opened()
    stream = backend.stream(frames(4), backend.own)
    next(stream)
    with pytest.raises(EngineError, match="a stream is running; close it"):
        backend.infer(frames(1)[0], backend.own)
    with pytest.raises(EngineError, match="a stream is running already"):
        next(backend.stream(frames(1), backend.own))
    stream.close()
    backend.infer(frames(1)[0], backend.own)


def test_a_size_the_engine_was_not_built_for(opened, frames):
    backend, many = opened(RANGE), frames(3)
    wrong = frames(1, Size(16, 16))[0]
    expected = "frame is 16x16, the engine takes 32x32,64x48,128x96; run: derain-comp"
    with pytest.raises(ShapeError, match=expected):
        backend.infer(wrong, backend.own)
    got = []
    with pytest.raises(ShapeError, match=expected):
        got.extend(
            frame.copy() for frame in backend.stream([*many, wrong], backend.own)
        )
    assert_inverted(got, many)


def in_thread(function):
    """The error that `function` raises in another thread."""
    errors = []

    def run():
        try:
            function()
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="other")
    thread.start()
    thread.join()
    return str(errors[0])


def test_another_thread_is_refused(opened, frames):
    backend, (frame,) = opened(), frames(1)
    expected = "belongs to thread MainThread, not to other; open one in each thread"
    assert expected in in_thread(lambda: backend.infer(frame, backend.own))
    assert expected in in_thread(lambda: next(backend.stream([frame], backend.own)))
    assert expected in in_thread(backend.close)
    backend.infer(frame, backend.own)  # nothing was lost
    assert expected in in_thread(lambda: backend.times)


def test_after_close_everything_is_free_and_nothing_runs(opened, frames):
    backend = opened()
    backend.infer(frames(1)[0], backend.own)
    copies(backend.stream(frames(4), backend.own))
    backend.close()
    backend.close()
    assert backend.device.closed == 1
    assert backend.library.alive == 0
    assert backend.times is None
    with pytest.raises(EngineError, match="is closed; open the bundle again"):
        backend.infer(frames(1)[0], backend.own)


def test_close_in_the_middle_of_a_stream(opened, frames):
    backend = opened()
    stream = backend.stream(frames(6), backend.own)
    next(stream)
    backend.close()
    assert backend.device.closed == 1
    with pytest.raises(EngineError, match="is closed"):
        next(stream)


def use(folder, monkeypatch, device, library, frames):
    """A whole life: open a bundle, self-test, frames of two kinds, close."""
    states = library.states
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: library)
    with contextlib.closing(Derainer(Bundle.open(folder), "tensorrt")) as derainer:
        many = [frame[0] for frame in frames(5)]
        for frame in many[:3]:
            derainer.derain(frame)
        for _ in range(2 if states else 1):
            got = [frame[None] for frame in copies(derainer.stream(many))]
            assert_same(got, remembered(frames(5), states))
        assert derainer.times is not None


@pytest.mark.parametrize("integrated", [False, True], ids=["card", "jetson"])
@pytest.mark.parametrize(
    "states", [(), (BOTH[0], BOTH[2])], ids=["no states", "states"]
)
def test_a_failure_at_any_call_leaves_nothing(
    compiled, monkeypatch, frames, integrated, states
):
    folder = compiled(states)

    def attempt(fail_at):
        device = RecordingDevice(fail_at=fail_at, integrated=integrated)
        library = Library(device, states=states)
        message = None
        try:
            use(folder, monkeypatch, device, library, frames)
        except EngineError as error:
            message = str(error)
        gc.collect(0)
        assert not +device.live, (fail_at, message)
        assert device.closed == 1
        assert library.alive == 0
        return device.count, device.calls, message

    count, calls, message = attempt(None)
    assert message is None
    # TensorRT's own are among them.
    assert {"Runtime", "deserialize_cuda_engine", "create_execution_context"} < {*calls}
    if states:
        assert {"clear", "upload" if integrated else "copy", "launch graph"} < {*calls}
    for number in range(1, count + 1):
        _, calls, message = attempt(number)
        # A graph that cannot be captured is a note. Else it is the failure itself that
        # is told, in one line, and not what it led to.
        if message is None:
            assert "begin capture" in calls
        else:
            assert message.endswith(f"{calls[number - 1]}: cudaErrorUnknown: injected")
            assert "\n" not in message


def test_a_device_that_fails_for_good_frees_everything(opened, frames, monkeypatch):
    """As CUDA after an illegal access: every call fails from then on, frees too."""
    backend = opened()
    device = backend.device
    backend.infer(frames(1)[0], backend.own)

    def broken(name):
        raise EngineError(f"{name}: cudaErrorIllegalAddress: it is all over")

    monkeypatch.setattr(device, "called", broken)
    monkeypatch.setattr(device, "free_checks", lambda resource: None)
    with pytest.raises(EngineError, match=r"^launch graph|^upload|^record"):
        backend.infer(frames(1)[0], backend.own)
    with pytest.raises(EngineError, match=r"^synchronize stream: "):
        backend.close()
    assert not +device.live
    assert device.closed == 1
    backend.close()


def test_nothing_leaks_over_ten_thousand_rounds(make_record, frames):
    """10,000 times: open, infer, close, on one device."""
    device = RecordingDevice(order="eager")
    device.keep_calls = False
    library = Library(device)
    (frame,) = frames(1, Size(8, 8))
    record = make_record("8x8")

    def rounds(count):
        for _ in range(count):
            engine = TensorRtEngine(library, record, b"plan")
            backend = TensorRtBackend(device, engine, Size(8, 8))
            backend.infer(frame, NoMemory())
            backend.infer(frame, NoMemory())
            backend.close()

    rounds(100)
    gc.collect()
    objects = len(gc.get_objects())
    rounds(9_800)
    assert not +device.live
    assert not device.by_handle
    assert library.alive == 0
    gc.collect()
    assert len(gc.get_objects()) - objects < 100
    tracemalloc.start()
    try:
        rounds(20)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        rounds(80)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000  # bytes; a frame and its buffers are more each round
    assert library.contexts == 10_000


def test_the_row_opens_an_engine_of_a_bundle(compiled, monkeypatch):
    device = RecordingDevice()
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: Library(device, name))
    with contextlib.closing(Derainer(Bundle.open(compiled()), "tensorrt")) as derainer:
        assert derainer.golden_psnr_db == np.inf
        assert derainer.description == (
            "tensorrt 10.3.0, Orin, recording device, copies"
        )


def test_the_self_test_runs_the_graph_that_frames_will_run(compiled, monkeypatch):
    device = RecordingDevice()
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: Library(device, name))
    with contextlib.closing(Derainer(Bundle.open(compiled()), "tensorrt")) as derainer:
        assert device.made["graph"] == 1
        assert device.calls.count("launch graph") == 2  # captured, then tested
        device.calls.clear()
        derainer.derain(np.zeros((48, 64, 3), np.uint8))
        assert device.calls == ["launch graph", "synchronize stream"]


def test_kernels_of_tensorrt_rtx_are_kept_in_the_users_cache(
    compiled, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = RecordingDevice()
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: Library(device, name))
    folder = compiled(backend="tensorrt-rtx", gpu=None)
    with contextlib.closing(open_backend("tensorrt-rtx", Bundle.open(folder))):
        (file,) = (tmp_path / "derain" / "kernels").iterdir()
        assert file.name == "tensorrt-rtx-10.3.0-sm87-orin-8.cache"
        assert file.read_bytes().endswith(b"\n1x48x64x3")


def test_an_engine_that_gives_something_else_fails_its_self_test(compiled, monkeypatch):
    device = RecordingDevice()
    library = Library(device)
    launch = device.launch

    def zeros(handle, name, action, reads, writes, milliseconds):
        launch(handle, name, lambda: writes[0].content.fill(0), reads, writes, 1.0)

    monkeypatch.setattr(device, "launch", zeros)
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: library)
    with pytest.raises(EngineError, match=r"self-test failed: tensorrt 10\.3\.0"):
        Derainer(Bundle.open(compiled()), "tensorrt")
    assert device.closed == 1
    assert library.alive == 0


@pytest.mark.parametrize(
    ("changes", "plan", "why"),
    [
        ({"gpu": "Thor", "compute_capabilities": ("11.0",)}, b"plan", "Thor"),
        ({"version": "10.4.0"}, b"plan", r"was built for tensorrt 10\.4\.0"),
        ({"onnx_sha256": "2" * 64}, b"plan", r"was built from another model\.onnx"),
        ({}, b"pla", "has 3 bytes, was built with 4"),
        ({}, b"plaN", "has changed since it was built"),
    ],
    ids=["another gpu", "another tensorrt", "changed onnx", "truncated", "a byte"],
)
def test_a_mismatch_is_told_before_the_library_is_used(
    compiled, monkeypatch, changes, plan, why
):
    device = RecordingDevice()
    library = Library(device)
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: library)
    folder = compiled(**changes)
    (path,) = folder.glob("*.plan")
    path.write_bytes(plan)
    with pytest.raises(EngineError, match=f"{why}.*; run: derain-compile"):
        open_backend("tensorrt", Bundle.open(folder))
    assert device.closed == 1
    assert device.calls == []  # of CUDA and of TensorRT: nothing was deserialised


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_tensorrt_is_not_touched(bundles, monkeypatch, name):
    def no_device():
        raise EngineError("no GPU: none")

    def never(name):
        raise AssertionError("TensorRT was touched")

    monkeypatch.setattr(open_engine, "open_device", no_device)
    monkeypatch.setattr(open_engine, "open_api", never)
    with pytest.raises(EngineError, match=r"^no GPU: none$"):
        open_backend(name, Bundle.open(bundles("darken")))
