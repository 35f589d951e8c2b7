"""The frame loop on live sources: fresh, bounded, and back after a loss."""

import itertools
import re
import threading
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from derain.runtime.bundle import Bundle
from derain.runtime.derainer import Derainer
from derain.runtime.errors import (
    EngineError,
    MediaError,
    ShapeError,
    SourceLostError,
    StreamError,
)
from derain.runtime.loop.gate import Gate, GateOptions
from derain.runtime.sizes import Size
from derain.runtime.stream import StreamOptions, run
from derain.runtime.video import Frame, SourceInfo

SECONDS = 120  # far more than any of this takes
TICK = Fraction(1, 1000)


class Camera:
    """A live source of `images`, each after `wait()`; then what `end` says."""

    def __init__(self, images, wait=lambda: None, end=None):
        self.images, self.wait, self.end = images, wait, end
        self.closed = 0
        self.info = SourceInfo(
            description="camera",
            time_base=TICK,
            fps=Fraction(30),
            size=Size(64, 48),
            live=True,
        )

    def __iter__(self):
        for index, image in enumerate(self.images):
            self.wait()
            yield Frame(image, index, index * TICK, captured=time.monotonic())
        if self.end is not None:
            raise self.end

    def close(self):
        self.closed += 1


class Screen:
    """A sink that keeps nothing but notes."""

    notes = ()

    def __init__(self, before=lambda frame: None, description=""):
        self.frames, self.before, self.description = [], before, description
        self.closed = 0

    def write(self, frame):
        self.before(frame)
        self.frames.append(frame)

    def finish(self):
        pass

    def close(self):
        self.closed += 1


@pytest.fixture
def derainer(bundles):
    derainer = Derainer(Bundle.open(bundles("darken")))
    yield derainer
    derainer.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Enough of it for a machine that stands still for a while."""
    monkeypatch.setattr("derain.runtime.loop.intake._PATIENCE_S", SECONDS)


@pytest.fixture
def within():
    """Runs the loop, and fails if it hangs: ``within(source, derainer, ...)``."""

    def call(*arguments):
        outcome = []

        def work():
            try:
                outcome.append((run(*arguments), None))
            except BaseException as error:
                outcome.append((None, error))

        thread = threading.Thread(target=work, name="loop", daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert not thread.is_alive(), "the loop hangs"
        ((summary, error),) = outcome
        if error is not None:
            raise error
        return summary

    return call


def adds_up(statistics):
    """Whether every captured frame is accounted for."""
    parts = ("derained", "passed_through", "dropped")
    return statistics["captured"] == sum(statistics[part] for part in parts)


def test_the_newest_frame_wins(derainer, within, image, monkeypatch):
    """While the network is busy with a frame, hundreds come: only the last is next."""
    captured = threading.Semaphore(0)  # one for each frame that was handed over
    seen = []
    derain = derainer.derain

    def slow(picture):
        seen.append(int(picture[0, 0, 0]))
        if len(seen) == 1:
            for _ in range(199):
                assert captured.acquire(timeout=SECONDS)
        return derain(picture)

    monkeypatch.setattr(derainer, "derain", slow)
    count = 0

    def wait():
        # All but the last two frames come at once; they come when the network is free.
        nonlocal count
        count += 1
        if count > 1:
            captured.release()

    pictures = [np.full((48, 64, 3), index, np.uint8) for index in range(201)]
    options = StreamOptions()
    screen = Screen()
    within(Camera(pictures, wait), derainer, [screen], options)
    assert adds_up(options.statistics)
    assert options.statistics["captured"] == 201
    assert options.statistics["dropped"] >= 190  # nothing of them was queued
    assert len(seen) <= 11
    assert seen == sorted(seen)
    assert seen[-1] == 200  # the newest is never lost
    assert [frame.index for frame in screen.frames] == sorted(
        frame.index for frame in screen.frames
    )


def test_a_slow_sink_delays_neither_network_nor_other_sinks(derainer, within, image):
    all_handed_over, got_stuck = threading.Event(), threading.Event()
    quick = Screen()

    def get_stuck(frame):
        got_stuck.set()
        all_handed_over.wait(SECONDS)

    stuck = Screen(get_stuck)
    paced = iter(range(1000))

    def wait():  # until the frame before was shown: the camera is slower than the rest
        count = next(paced)
        deadline = time.monotonic() + SECONDS
        while len(quick.frames) < count and time.monotonic() < deadline:
            time.sleep(0.0005)
        if count == 1:
            got_stuck.wait(SECONDS)  # with the first frame, however late its thread

    # Told when both have the frame in their mailboxes: the quick one has it earlier.
    options = StreamOptions(progress=lambda done: done == 60 and all_handed_over.set())
    within(Camera([image()] * 60, wait), derainer, [quick, stuck], options)
    assert [frame.index for frame in quick.frames] == list(range(60))
    assert [frame.index for frame in stuck.frames] == [0, 59]  # the newest, at last
    rows = options.statistics.sinks
    assert [row.written + row.dropped for row in rows] == [60, 60]


def test_a_sink_that_keeps_frames_has_a_bounded_queue(derainer, within, image):
    free, in_sink = threading.Event(), threading.Event()

    def keep(frame):
        in_sink.set()
        free.wait(SECONDS)

    kept = Screen(keep, description="out.mp4")
    options = StreamOptions(progress=lambda done: done == 100 and free.set())
    paced = iter(range(1000))

    def wait():
        deadline = time.monotonic() + SECONDS
        count = next(paced)
        while options.statistics["derained"] < count and time.monotonic() < deadline:
            time.sleep(0.0005)
        if count == 1:
            in_sink.wait(SECONDS)  # the first frame, however late the sink's thread

    within(Camera([image()] * 100, wait), derainer, [kept], options)
    row = options.statistics.sinks[0]
    assert row.written == len(kept.frames) == 26  # a queue of 25, and one in the sink
    assert row.dropped == 74
    assert kept.frames[-1].index == 99


def test_ages_are_counted_to_the_end_of_the_write(derainer, within, image):
    options = StreamOptions()
    within(
        Camera([image()] * 3, lambda: time.sleep(0.02)),
        derainer,
        [Screen(lambda frame: time.sleep(0.01))],
        options,
    )
    values = options.statistics.as_dict()
    assert values["age_ms"]["p50"] >= 10
    assert values["read_ms"]["p50"] >= 20


@pytest.mark.parametrize("late", ["drop", "pass"])
def test_a_frame_that_is_too_old_is_not_derained(derainer, within, image, late):
    camera = Camera([image()] * 5)
    frames = list(camera)
    camera_iter = [
        Frame(
            f.image, f.index, f.time, captured=time.monotonic() - 1e6 * (f.index != 4)
        )
        for f in frames
    ]
    shown = threading.Semaphore(1)

    class Old(Camera):
        def __iter__(self):
            for frame in camera_iter:
                if late == "pass":
                    shown.acquire(timeout=SECONDS)
                else:
                    deadline = time.monotonic() + SECONDS
                    while (
                        options.statistics["dropped"] < frame.index
                        and time.monotonic() < deadline
                    ):
                        time.sleep(0.0005)
                yield frame

    options = StreamOptions(max_latency_ms=600_000, late=late)
    screen = Screen(lambda frame: shown.release())
    within(Old([]), derainer, [screen], options)
    statistics = options.statistics
    assert adds_up(statistics)
    assert statistics["late"] == 4
    assert statistics["derained"] == 1
    assert statistics["dropped" if late == "drop" else "passed_through"] == 4
    if late == "pass":
        assert [frame.passed for frame in screen.frames] == [True] * 4 + [False]
        np.testing.assert_array_equal(screen.frames[0].image, image())


def test_a_frame_that_got_too_old_in_the_network_is_dropped(
    derainer, within, image, monkeypatch
):
    derain, ahead = derainer.derain, []

    def slow(picture):
        ahead.append(1000)
        return derain(picture)

    clock = SimpleNamespace(
        monotonic=lambda: time.monotonic() + sum(ahead), perf_counter=time.perf_counter
    )
    monkeypatch.setattr("derain.runtime.loop.network.time", clock)
    monkeypatch.setattr(derainer, "derain", slow)
    options = StreamOptions(max_latency_ms=900_000)
    screen = Screen()
    within(Camera([image()]), derainer, [screen], options)
    assert len(ahead) == 1  # it was young enough for the network
    assert screen.frames == []
    assert options.statistics["dropped"] == options.statistics["late"] == 1


# --- loss ---


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr("derain.runtime.loop.intake.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("derain.runtime.loop.intake.LONGEST_PAUSE_S", 0.002)


def lost():
    return SourceLostError("camera sent nothing for 5 s")


def test_a_lost_source_comes_back_20_times(derainer, within, image, quick_pauses):
    cameras, told = [], []
    options = StreamOptions(tell=told.append)
    screen = Screen()

    def paced():
        deadline = time.monotonic() + SECONDS
        while (
            len([f for f in screen.frames if f.signal]) < options.statistics["captured"]
            and time.monotonic() < deadline
        ):
            time.sleep(0.0005)

    def one_by_one():  # lost when the last was shown: no stand-in takes its place
        for _ in range(3):
            yield image()
            paced()

    def reopen():
        if len(cameras) % 2:  # every other attempt fails
            cameras.append(None)
            raise MediaError("connection refused")
        end = lost() if len(cameras) < 40 else None
        cameras.append(Camera(one_by_one(), end=end))
        return cameras[-1]

    first = Camera(one_by_one(), end=lost())
    object.__setattr__(options, "reopen", reopen)
    within(first, derainer, [screen], options)
    statistics = options.statistics
    assert statistics["reconnects"] == 21
    assert statistics["captured"] == statistics["derained"] == 66
    assert adds_up(statistics)
    assert first.closed == 1
    assert all(camera.closed == 1 for camera in cameras if camera)
    times = [frame.time for frame in screen.frames]
    assert times == sorted(set(times))  # growing, over all of them
    assert all(time % TICK == 0 for time in times)
    indices = [frame.index for frame in screen.frames if frame.signal]
    assert indices == list(range(66))
    gone, back = told[:2]
    assert gone == "camera sent nothing for 5 s; trying again until it is back"
    assert re.fullmatch(r"the source is back after \d+ s", back)
    assert len(told) == 42


def test_sinks_get_a_marked_picture_while_it_is_lost(derainer, within, image):
    shown, marked = threading.Event(), threading.Event()
    screen = Screen(lambda frame: (shown if frame.signal else marked).set())

    def once():  # lost when it was shown: no stand-in takes its place
        yield image()
        assert shown.wait(SECONDS)

    def reopen():
        assert marked.wait(SECONDS)
        return Camera([image()])

    options = StreamOptions(reopen=reopen)
    within(Camera(once(), end=lost()), derainer, [screen], options)
    signals = [frame.signal for frame in screen.frames]
    assert signals[0]
    assert signals[-1]
    (row,) = options.statistics.sinks
    assert signals.count(False) >= 1
    assert row.written + row.dropped == 2 + options.statistics["no_signal"]
    assert options.statistics.signal
    assert adds_up(options.statistics)


def test_a_stop_is_heard_while_the_source_is_lost(derainer, within, image):
    stop = threading.Event()

    def reopen():
        stop.set()
        raise MediaError("connection refused")

    options = StreamOptions(reopen=reopen, stopped=stop.is_set)
    assert within(Camera([], end=lost()), derainer, [Screen()], options).frames == 0


def test_without_a_way_to_reopen_a_loss_is_an_error(derainer, within, image):
    with pytest.raises(SourceLostError, match="sent nothing for 5 s"):
        within(Camera([], end=lost()), derainer, [Screen()], StreamOptions())


def test_the_limit_is_of_frames_that_went_on(derainer, within, image):
    options = StreamOptions(limit=3)
    endless = Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    screen = Screen()
    within(endless, derainer, [screen], options)
    assert options.statistics["derained"] == 3
    assert adds_up(options.statistics)
    assert endless.closed == 1


# --- sizes ---


def test_another_size_is_scaled_to_the_first_with_resize(derainer, within, image):
    first = threading.Event()
    screen = Screen(lambda frame: first.set())
    waits = iter((lambda: None, lambda: first.wait(SECONDS)))
    pictures = [image(), image(Size(128, 96))]
    camera = Camera(pictures, lambda: next(waits)())
    within(camera, derainer, [screen], StreamOptions(resize=True))
    assert [frame.size for frame in screen.frames] == [Size(64, 48)] * 2


def test_another_size_without_resize_is_a_clear_stop(derainer, within, image):
    message = "^frame 0: frame is 128x96, the bundle takes 64x48; run: "
    with pytest.raises(ShapeError, match=message):
        within(Camera([image(Size(128, 96))]), derainer, [Screen()], StreamOptions())


# --- what fails ---


class BugError(Exception):
    """Not one of ours."""


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    "error", [MediaError("gone"), BugError("gone"), KeyboardInterrupt()]
)
@pytest.mark.parametrize(
    "where", ["source", "close of the source", "network", "write", "close of the sink"]
)
def test_whatever_fails_stops_everything(
    derainer, within, image, monkeypatch, live, error, where
):
    def fail(*arguments):
        raise error

    def endless():
        while True:
            yield image()

    end = error if where == "source" else None
    pictures = [image()] * 2 if "source" in where else endless()
    camera = Camera(pictures, lambda: time.sleep(0.001), end)
    camera.info = SourceInfo(
        description="camera", time_base=TICK, fps=Fraction(30), live=live
    )
    screen = Screen()
    if where == "close of the source":
        camera.close = fail
    elif where == "network":
        monkeypatch.setattr(derainer._backend, "infer", fail)
    elif where == "write":
        screen.write = fail
    elif where == "close of the sink":
        screen.close = fail
        camera.images = [image()]
    before = set(threading.enumerate())
    with pytest.raises(type(error), match=r"gone|^$"):
        within(camera, derainer, [screen], StreamOptions())
    assert set(threading.enumerate()) <= before


def test_a_failing_sink_is_told_of_once_and_the_others_go_on(derainer, within, image):
    told = []

    def fail(frame):
        raise MediaError("out.mp4 cannot be written: No space left on device")

    bad, good = Screen(fail, "out.mp4"), Screen()
    endless = Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    options = StreamOptions(
        tell=told.append, stopped=lambda: told and len(good.frames) > 20
    )
    with pytest.raises(StreamError, match=r"^1 of 2 sinks failed: out.mp4 cannot be"):
        within(endless, derainer, [bad, good], options)
    assert len(good.frames) > 20
    assert told == [
        "out.mp4 cannot be written: No space left on device; this sink is closed, "
        "1 of 2 go on"
    ]
    assert (bad.closed, good.closed) == (1, 1)
    assert [row.failed for row in options.statistics.sinks] == [True, False]
    assert options.statistics.as_dict()["sink_failures"] == 1


def test_the_last_sink_that_fails_ends_the_run(derainer, within, image):
    def fail_at(index, text):
        def before(frame):
            if frame.index >= index:
                raise MediaError(text)

        return before

    endless = Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    sinks = [Screen(fail_at(0, "first")), Screen(fail_at(5, "second"))]
    with pytest.raises(MediaError):
        within(endless, derainer, sinks, StreamOptions())


def test_what_a_network_failure_leaves_is_written(derainer, within, image, monkeypatch):
    calls = []

    def infer(frame):
        calls.append(frame)
        if len(calls) == 4:
            raise EngineError("the device is gone")
        return frame

    monkeypatch.setattr(derainer._backend, "infer", infer)
    kept = Screen(lambda frame: time.sleep(0.01), "out.mp4")
    # As many frames as it takes: a network that is slow to start gets few of them.
    camera = Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    options = StreamOptions()
    with pytest.raises(StreamError, match=r"is gone; .* first 3 frames is kept in out"):
        within(camera, derainer, [kept], options)
    assert len(kept.frames) == 3
    assert adds_up(options.statistics)


# --- the gate ---


def test_a_dry_scene_passes_through_untouched(derainer, within, image):
    """Here, what is dark is dry: darken takes little away from it."""
    dark = np.ones((48, 64, 3), np.uint8)  # darken takes one level away
    gate = Gate(GateOptions(dry_below=2, rain_above=3, hold_s=0, look_every=5))
    options = StreamOptions(gate=gate)
    screen = Screen()
    pictures = [dark] * 12 + [image()] * 12

    class File(Camera):
        def __init__(self, images):
            super().__init__(images)
            self.info = SourceInfo(
                description="file", time_base=TICK, fps=Fraction(30), size=Size(64, 48)
            )

    within(File(pictures), derainer, [screen], options)
    statistics = options.statistics
    assert adds_up(statistics)
    # The first is derained, then every fifth is looked at; the third look sees rain.
    assert [frame.passed for frame in screen.frames] == [
        *[False],
        *[True] * 14,
        *[False] * 9,
    ]
    assert statistics["looks"] == 2
    assert statistics.gate == "rain"
    np.testing.assert_array_equal(screen.frames[5].image, dark)
    np.testing.assert_array_equal(screen.frames[-1].image, image() >> 1)
