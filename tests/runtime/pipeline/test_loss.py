"""A source that is lost: stand-ins for the sinks, and back again."""

import re
import threading
import time

import pytest

from derain.core.errors import MediaError, SourceLostError
from derain.runtime.pipeline.loop_options import LoopOptions


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr("derain.runtime.pipeline.capture.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("derain.runtime.pipeline.capture.LONGEST_PAUSE_S", 0.002)


def test_a_lost_source_comes_back_20_times(
    derainer, within, image, quick_pauses, fakes, said
):
    cameras = []
    options = LoopOptions()
    screen = fakes.Screen()

    def paced():
        deadline = time.monotonic() + fakes.SECONDS
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
        end = fakes.lost() if len(cameras) < 40 else None
        cameras.append(fakes.Camera(one_by_one(), end=end))
        return cameras[-1]

    first = fakes.Camera(one_by_one(), end=fakes.lost())
    within(first, derainer, [screen], options, reopen)
    statistics = options.statistics
    assert statistics["reconnects"] == 21
    assert statistics["captured"] == statistics["derained"] == 66
    assert fakes.adds_up(statistics)
    assert first.closed == 1
    assert all(camera.closed == 1 for camera in cameras if camera)
    times = [frame.time for frame in screen.frames]
    assert times == sorted(set(times))  # growing, over all of them
    assert all(time % fakes.TICK == 0 for time in times)
    indices = [frame.index for frame in screen.frames if frame.signal]
    assert indices == list(range(66))
    gone, back = said()[:2]
    assert gone == "camera sent nothing for 5 s; trying again until it is back"
    assert re.fullmatch(r"the source is back after \d+ s", back)
    assert len(said()) == 42


def test_sinks_get_a_marked_picture_while_it_is_lost(derainer, within, image, fakes):
    shown, marked = threading.Event(), threading.Event()
    screen = fakes.Screen(lambda frame: (shown if frame.signal else marked).set())

    def once():  # lost when it was shown: no stand-in takes its place
        yield image()
        assert shown.wait(fakes.SECONDS)

    def reopen():
        assert marked.wait(fakes.SECONDS)
        return fakes.Camera([image()])

    options = LoopOptions()
    camera = fakes.Camera(once(), end=fakes.lost())
    within(camera, derainer, [screen], options, reopen)
    signals = [frame.signal for frame in screen.frames]
    assert signals[0]
    assert signals[-1]
    (row,) = options.statistics.sinks
    assert signals.count(False) >= 1
    assert row.written + row.dropped == 2 + options.statistics["no_signal"]
    assert options.statistics.signal
    assert fakes.adds_up(options.statistics)


def test_a_stop_is_heard_while_the_source_is_lost(derainer, within, image, fakes):
    stop = threading.Event()

    def reopen():
        stop.set()
        raise MediaError("connection refused")

    options = LoopOptions(stopped=stop.is_set)
    camera = fakes.Camera([], end=fakes.lost())
    assert within(camera, derainer, [fakes.Screen()], options, reopen).frames == 0


def test_without_a_way_to_reopen_a_loss_is_an_error(derainer, within, image, fakes):
    with pytest.raises(SourceLostError, match="sent nothing for 5 s"):
        within(
            fakes.Camera([], end=fakes.lost()),
            derainer,
            [fakes.Screen()],
            LoopOptions(),
        )
