"""``test://rain?live=1``: a camera that is not there."""

import itertools
import time

import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.runtime.pipeline.capture import Capture
from derain.runtime.video.sources import open_source, rendered

URI = "test://rain?size=32x32&fps=100&seconds=0.05"


def clip(seed):
    return [frame.image for frame in open_source(f"{URI}&seed={seed}")]


def test_it_never_ends_and_plays_the_clip(monkeypatch):
    class Clock:
        """Time that passes only in `sleep`: no frame is left out for want of it."""

        now = 0.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds
            time.sleep(0.001)

    pictures = clip(3)
    monkeypatch.setattr(rendered, "time", Clock())
    with Capture(open_source(f"{URI}&seed=3&live=1")) as source:
        assert source.info.live
        assert source.info.frames is None
        frames = list(itertools.islice(source, 30))
    for frame in frames:
        if frame.index >= 5:  # by then, all of it is rendered
            np.testing.assert_array_equal(frame.image, pictures[frame.index % 5])
    assert frames[-1].index >= 29


def test_frames_come_at_their_times():
    started = time.monotonic()
    with Capture(open_source(f"{URI}&live=1")) as source:
        frames = list(itertools.islice(source, 20))
    for frame in frames:
        assert started + float(frame.time) <= frame.captured <= time.monotonic()
    assert all(one.time < two.time for one, two in itertools.pairwise(frames))


def test_a_slow_reader_gets_the_newest_frame():
    with Capture(open_source(f"{URI}&live=1")) as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.5)
        # One waits for the reader, and one may be on its way; a queue has twenty.
        old = itertools.takewhile(lambda frame: frame.index < first.index + 20, frames)
        assert len(list(old)) <= 5


def test_a_frame_belongs_to_its_reader():
    with Capture(open_source(f"{URI}&live=1")) as source:
        for frame in itertools.islice(source, 30):
            assert frame.image.any()
            frame.image[:] = 0


def test_closing_ends_the_frames():
    source = Capture(open_source(f"{URI}&live=1"))
    next(iter(source))
    source.close()
    source.close()
    assert list(source) == []


def test_live_is_0_or_1():
    with pytest.raises(MediaError, match=r"live must be 0 or 1"):
        open_source("test://rain?live=yes")


def test_derain_run_takes_frames_from_it(bundles, invoke):
    done = invoke(
        bundles("any"), "--source", f"{URI}&live=1", "--sink", "null:", "--limit", 5
    )
    assert done.exit_code == 0, done.output
    assert "frames     5 in" in done.output
