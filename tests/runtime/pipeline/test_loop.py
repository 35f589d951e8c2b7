"""The frame loop: what it keeps, what it says, and that it stops cleanly."""

import re
import threading
from fractions import Fraction

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, MediaError, ShapeError, StreamError
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.loop import run_loop
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.video.frames import Frame, SourceInfo


class FakeSource:
    def __init__(self, images, fails_at=None):
        self.images, self.fails_at = images, fails_at
        self.taken = 0
        self.info = SourceInfo(
            description="fake", time_base=Fraction(1, 25), fps=Fraction(25)
        )

    def __iter__(self):
        for index, image in enumerate(self.images):
            if index == self.fails_at:
                raise MediaError(f"in.mp4 is damaged after frame {index - 1}")
            self.taken += 1
            yield Frame(image, index, Fraction(index, 25), Fraction(1, 25))

    def interrupt(self):
        pass

    def close(self):
        pass


def run(source, derainer, sinks, options):
    capture = Capture(source, options.statistics, limit=options.limit)
    return run_loop(capture, derainer, sinks, options)


class FakeSink:
    notes = ()

    name = "out.mp4"

    def __init__(self, fails_at=None, keeps=True):
        self.frames, self.fails_at, self.keeps = [], fails_at, keeps
        self.calls = []

    def write(self, frame):
        if len(self.frames) == self.fails_at:
            raise MediaError("out.mp4 cannot be written: No space left on device")
        self.frames.append(frame)

    def finish(self):
        self.calls.append("finish")

    def close(self):
        self.calls.append("close")


@pytest.fixture
def derainer(bundles):
    derainer = Derainer(Bundle.open(bundles("darken")))
    yield derainer
    derainer.close()


@pytest.fixture
def images(image):
    return [image(shift=index) for index in range(5)]


def test_every_frame_is_derained_in_order(derainer, images):
    sink, seen = FakeSink(), []
    options = LoopOptions(progress=seen.append)
    summary = run(FakeSource(images), derainer, [sink], options)
    assert [frame.index for frame in sink.frames] == list(range(5))
    for frame, image in zip(sink.frames, images, strict=True):
        np.testing.assert_array_equal(frame.image, image >> 1)
    assert sink.calls == ["finish", "close"]
    assert seen == [1, 2, 3, 4, 5]
    assert summary.frames == 5
    assert 0 < summary.derain_ms < summary.seconds * 1000
    assert summary.fps == pytest.approx(5 / summary.seconds)


# Where there is a choice, a file's frames are taken one by one, as a camera's are.
one_by_one = pytest.mark.parametrize("chooses", [False, True])


def choosing(derainer, chooses):
    return (lambda size: derainer) if chooses else None


@one_by_one
def test_the_end_of_a_file_is_told_to_its_sink(derainer, images, chooses):
    sink = FakeSink()
    run(
        FakeSource(images),
        derainer,
        [sink],
        LoopOptions(choose=choosing(derainer, chooses)),
    )
    assert sink.calls == ["finish", "close"]


@one_by_one
def test_limit_takes_no_frame_too_many(derainer, images, chooses):
    source, sink = FakeSource(images), FakeSink()
    options = LoopOptions(limit=2, choose=choosing(derainer, chooses))
    assert run(source, derainer, [sink], options).frames == 2
    assert source.taken == 2
    assert sink.calls == ["finish", "close"]


@one_by_one
def test_stopping_keeps_what_is_done(derainer, images, chooses):
    sink, seen = FakeSink(), []
    options = LoopOptions(
        stopped=lambda: len(seen) == 3,
        progress=seen.append,
        choose=choosing(derainer, chooses),
    )
    assert run(FakeSource(images), derainer, [sink], options).frames == 3
    assert sink.calls == ["close"]


def test_a_source_that_fails_leaves_a_closed_sink(derainer, images):
    sink = FakeSink()
    message = (
        "in.mp4 is damaged after frame 2; what was finished of the first 3 frames is "
        "kept in out.mp4"
    )
    with pytest.raises(StreamError, match=f"^{re.escape(message)}$"):
        run(FakeSource(images, fails_at=3), derainer, [sink], LoopOptions())
    assert sink.calls == ["close"]


def test_a_failure_at_the_first_frame_says_nothing_of_results(derainer, images):
    with pytest.raises(MediaError, match=r"^in\.mp4 is damaged after frame -1$"):
        run(FakeSource(images, fails_at=0), derainer, [FakeSink()], LoopOptions())


def test_a_sink_that_fails_is_closed(derainer, images):
    sink = FakeSink(fails_at=2)
    with pytest.raises(
        StreamError, match=r"No space left on device; .* first 2 frames"
    ):
        run(FakeSource(images), derainer, [sink], LoopOptions())
    assert sink.calls == ["close"]


def test_a_sink_that_keeps_nothing_is_not_pointed_to(derainer, images):
    sink = FakeSink(fails_at=2, keeps=False)
    with pytest.raises(MediaError, match=r"No space left on device$"):
        run(FakeSource(images), derainer, [sink], LoopOptions())


def test_a_network_that_fails_leaves_a_closed_sink(derainer, images, monkeypatch):
    calls = []

    def stream(frames, memory):
        for frame in frames:
            calls.append(frame)
            if len(calls) == 3:
                raise EngineError("the device is gone")
            yield frame

    monkeypatch.setattr(derainer._backend, "stream", stream)
    sink = FakeSink()
    with pytest.raises(StreamError, match=r"the device is gone; .* first 2 frames"):
        run(FakeSource(images), derainer, [sink], LoopOptions())
    assert sink.calls == ["close"]


def test_a_bug_keeps_its_type_and_closes_the_sink(derainer, images):
    sink = FakeSink()
    sink.write = lambda frame: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run(FakeSource(images), derainer, [sink], LoopOptions())
    assert sink.calls == ["close"]


def test_another_size_is_named_with_the_frame(derainer, images, image):
    from derain.core.sizes import Size

    images[3] = image(Size(80, 60))
    with pytest.raises(StreamError, match=r"^frame 3: frame is 80x60, the bundle"):
        run(FakeSource(images), derainer, [FakeSink()], LoopOptions())
    with pytest.raises(ShapeError, match=r"^frame 0: frame is 80x60, the bundle"):
        run(FakeSource(images[3:]), derainer, [FakeSink()], LoopOptions())
    sink = FakeSink()
    run(FakeSource(images), derainer, [sink], LoopOptions(resize=True))
    assert [str(frame.size) for frame in sink.frames][2:] == ["64x48", "80x60", "64x48"]


def test_sinks_are_called_what_the_user_calls_them(derainer, images):
    options = LoopOptions()
    sinks = [FakeSink(keeps=False), FakeSink(keeps=False), FakeSink()]
    for sink in sinks[:2]:
        sink.name = "null:"
    run(FakeSource(images), derainer, sinks, options)
    names = [row.name for row in options.statistics.sinks]
    assert names == ["null:", "null: (2)", "out.mp4"]  # metrics must not be alike


def test_nothing_runs_on_after_the_end(derainer, images):
    before = set(threading.enumerate())
    run(FakeSource(images), derainer, [FakeSink()], LoopOptions())
    assert set(threading.enumerate()) <= before
