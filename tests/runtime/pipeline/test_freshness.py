"""What is shown is new: nothing queues up behind a slow network or sink."""

import threading
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from derain.runtime.pipeline.camera_stream import CameraStream
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.video.frames import Frame


def test_the_newest_frame_wins(derainer, within, image, monkeypatch, fakes):
    """While the network is busy with a frame, hundreds come: only the last is next."""
    captured = threading.Semaphore(0)  # one for each frame that was handed over
    seen = []
    derain = derainer.derain

    def slow(picture):
        seen.append(int(picture[0, 0, 0]))
        if len(seen) == 1:
            for _ in range(199):
                assert captured.acquire(timeout=fakes.SECONDS)
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
    options = LoopOptions()
    screen = fakes.Screen()
    within(fakes.Camera(pictures, wait), derainer, [screen], options)
    assert fakes.adds_up(options.statistics)
    assert options.statistics["captured"] == 201
    assert options.statistics["dropped"] >= 190  # nothing of them was queued
    assert len(seen) <= 11
    assert seen == sorted(seen)
    assert seen[-1] == 200  # the newest is never lost
    assert [frame.index for frame in screen.frames] == sorted(
        frame.index for frame in screen.frames
    )


def test_a_slow_sink_delays_neither_network_nor_other_sinks(
    derainer, within, image, fakes
):
    all_handed_over, got_stuck = threading.Event(), threading.Event()
    quick = fakes.Screen()

    def get_stuck(frame):
        got_stuck.set()
        all_handed_over.wait(fakes.SECONDS)

    stuck = fakes.Screen(get_stuck)
    paced = iter(range(1000))

    def wait():  # until the frame before was shown: the camera is slower than the rest
        count = next(paced)
        deadline = time.monotonic() + fakes.SECONDS
        while len(quick.frames) < count and time.monotonic() < deadline:
            time.sleep(0.0005)
        if count == 1:
            got_stuck.wait(
                fakes.SECONDS
            )  # with the first frame, however late its thread

    # Told when both have the frame in their queues: the quick one has it earlier.
    options = LoopOptions(progress=lambda done: done == 60 and all_handed_over.set())
    within(fakes.Camera([image()] * 60, wait), derainer, [quick, stuck], options)
    assert [frame.index for frame in quick.frames] == list(range(60))
    assert [frame.index for frame in stuck.frames] == [0, 59]  # the newest, at last
    rows = options.statistics.sinks
    assert [row.written + row.dropped for row in rows] == [60, 60]


def test_a_sink_that_keeps_frames_has_a_bounded_queue(derainer, within, image, fakes):
    free, in_sink = threading.Event(), threading.Event()

    def keep(frame):
        in_sink.set()
        free.wait(fakes.SECONDS)

    kept = fakes.Screen(keep, name="out.mp4", keeps=True)
    options = LoopOptions(progress=lambda done: done == 100 and free.set())
    paced = iter(range(1000))

    def wait():
        deadline = time.monotonic() + fakes.SECONDS
        count = next(paced)
        while options.statistics["derained"] < count and time.monotonic() < deadline:
            time.sleep(0.0005)
        if count == 1:
            in_sink.wait(
                fakes.SECONDS
            )  # the first frame, however late the sink's thread

    within(fakes.Camera([image()] * 100, wait), derainer, [kept], options)
    row = options.statistics.sinks[0]
    assert row.written == len(kept.frames) == 26  # a queue of 25, and one in the sink
    assert row.dropped == 74
    assert kept.frames[-1].index == 99


def test_ages_are_counted_to_the_end_of_the_write(derainer, within, image, fakes):
    options = LoopOptions()
    within(
        fakes.Camera([image()] * 3, lambda: time.sleep(0.02)),
        derainer,
        [fakes.Screen(lambda frame: time.sleep(0.01))],
        options,
    )
    values = options.statistics.as_dict()
    assert values["age_ms"]["p50"] >= 10
    assert values["read_ms"]["p50"] >= 20


@pytest.mark.parametrize("late", ["drop", "pass"])
def test_a_frame_that_is_too_old_is_not_derained(derainer, within, image, late, fakes):
    camera = fakes.Camera([image()] * 5)
    frames = list(camera)
    camera_iter = [
        Frame(
            f.image, f.index, f.time, captured=time.monotonic() - 1e6 * (f.index != 4)
        )
        for f in frames
    ]
    shown = threading.Semaphore(1)

    class Old(fakes.Camera):
        def __iter__(self):
            for frame in camera_iter:
                if late == "pass":
                    shown.acquire(timeout=fakes.SECONDS)
                else:
                    deadline = time.monotonic() + fakes.SECONDS
                    while (
                        options.statistics["dropped"] < frame.index
                        and time.monotonic() < deadline
                    ):
                        time.sleep(0.0005)
                yield frame

    options = LoopOptions(max_latency_ms=600_000, late=late)
    screen = fakes.Screen(lambda frame: shown.release())
    within(Old([]), derainer, [screen], options)
    statistics = options.statistics
    assert fakes.adds_up(statistics)
    assert statistics["late"] == 4
    assert statistics["derained"] == 1
    assert statistics["dropped" if late == "drop" else "passed_through"] == 4
    if late == "pass":
        assert [frame.passed for frame in screen.frames] == [True] * 4 + [False]
        np.testing.assert_array_equal(screen.frames[0].image, image())


def test_a_frame_that_got_too_old_in_the_network_is_dropped(
    derainer, within, image, monkeypatch, fakes
):
    derain, ahead = derainer.derain, []

    def slow(picture):
        ahead.append(1000)
        return derain(picture)

    clock = SimpleNamespace(
        monotonic=lambda: time.monotonic() + sum(ahead), perf_counter=time.perf_counter
    )
    monkeypatch.setattr("derain.runtime.pipeline.inference.time", clock)
    monkeypatch.setattr(derainer, "derain", slow)
    options = LoopOptions(max_latency_ms=900_000)
    screen = fakes.Screen()
    within(fakes.Camera([image()]), derainer, [screen], options)
    assert len(ahead) == 1  # it was young enough for the network
    assert screen.frames == []
    assert options.statistics["dropped"] == options.statistics["late"] == 1


def test_a_frame_that_is_too_late_for_the_network_is_no_service(derainer, fakes, image):
    """Else a network that is far too slow would look like one that keeps up."""
    camera = fakes.Camera([])
    options = LoopOptions(max_latency_ms=100)
    stream = CameraStream(Capture(camera), derainer, [fakes.Screen()], options)
    stream.start()
    old = Frame(image(), 0, Fraction(0), captured=time.monotonic() - 1)
    new = Frame(image(), 1, Fraction(1), captured=time.monotonic() + 60)
    waiting = [(old, time.monotonic()), (new, time.monotonic())]
    stream.capture.get = lambda timeout_s: waiting.pop(0)
    stream.serve()
    assert (stream.served, options.statistics["late"]) == (0, 1)
    stream.serve()
    assert (stream.served, options.statistics["derained"]) == (1, 1)
    assert stream.busy_s > 0
    stream.close()
