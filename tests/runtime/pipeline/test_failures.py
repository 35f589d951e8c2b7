"""Whatever fails stops the others, and closes what is open."""

import itertools
import threading
import time
from fractions import Fraction

import pytest

from derain.core.errors import EngineError, MediaError, StreamError
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.video.frames import SourceInfo


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
    derainer, within, image, monkeypatch, live, error, where, fakes
):
    def fail(*arguments):
        raise error

    def endless():
        while True:
            yield image()

    end = error if where == "source" else None
    pictures = [image()] * 2 if "source" in where else endless()
    camera = fakes.Camera(pictures, lambda: time.sleep(0.001), end)
    camera.info = SourceInfo(
        description="camera", time_base=fakes.TICK, fps=Fraction(30), live=live
    )
    screen = fakes.Screen()
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
        within(camera, derainer, [screen], LoopOptions())
    assert set(threading.enumerate()) <= before


def test_a_failing_sink_is_told_of_once_and_the_others_go_on(
    derainer, within, image, fakes, said
):

    def fail(frame):
        raise MediaError("out.mp4 cannot be written: No space left on device")

    bad, good = fakes.Screen(fail, "out.mp4", keeps=True), fakes.Screen()
    endless = fakes.Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    options = LoopOptions(stopped=lambda: said() and len(good.frames) > 20)
    with pytest.raises(StreamError, match=r"^1 of 2 sinks failed: out.mp4 cannot be"):
        within(endless, derainer, [bad, good], options)
    assert len(good.frames) > 20
    assert said() == [
        "out.mp4 cannot be written: No space left on device; this sink is closed, "
        "1 of 2 go on"
    ]
    assert (bad.closed, good.closed) == (1, 1)
    assert [row.failed for row in options.statistics.sinks] == [True, False]
    assert options.statistics.as_dict()["sink_failures"] == 1


def test_the_last_sink_that_fails_ends_the_run(derainer, within, image, fakes):
    def fail_at(index, text):
        def before(frame):
            if frame.index >= index:
                raise MediaError(text)

        return before

    endless = fakes.Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    sinks = [fakes.Screen(fail_at(0, "first")), fakes.Screen(fail_at(5, "second"))]
    with pytest.raises(MediaError):
        within(endless, derainer, sinks, LoopOptions())


def test_what_a_network_failure_leaves_is_written(
    derainer, within, image, monkeypatch, fakes
):
    calls = []

    def infer(frame, memory):
        calls.append(frame)
        if len(calls) == 4:
            raise EngineError("the device is gone")
        return frame

    monkeypatch.setattr(derainer._backend, "infer", infer)
    kept = fakes.Screen(lambda frame: time.sleep(0.01), "out.mp4", keeps=True)
    # As many frames as it takes: a network that is slow to start gets few of them.
    camera = fakes.Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    options = LoopOptions()
    with pytest.raises(StreamError, match=r"is gone; .* first 3 frames is kept in out"):
        within(camera, derainer, [kept], options)
    assert len(kept.frames) == 3
    assert fakes.adds_up(options.statistics)
