"""The source's thread: pauses between attempts, and sources that hang."""

import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest

from derain.core.errors import SourceLostError
from derain.runtime.pipeline import capture
from derain.runtime.pipeline.capture import Capture, pauses
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame, SourceInfo

SECONDS = 120  # far more than any of this takes


def test_pauses_double_up_to_ten_seconds():
    assert list(itertools.islice(pauses(lambda: 0), 7)) == [0.5, 1, 2, 4, 8, 10, 10]


def test_chance_takes_at_most_half_away():
    assert list(itertools.islice(pauses(lambda: 1), 3)) == [0.25, 0.5, 1]
    assert len(set(itertools.islice(pauses(), 5, 25))) > 1


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Enough of it for a machine that stands still for a while."""
    monkeypatch.setattr(capture, "_PATIENCE_S", SECONDS)


class Stuck:
    """A live source that waits for a frame until it is set free."""

    info = SourceInfo(
        description="camera", time_base=Fraction(1), fps=Fraction(1), live=True
    )

    def __init__(self):
        self.free, self.waits = threading.Event(), threading.Event()

    def __iter__(self):
        self.waits.set()
        self.free.wait(5 * SECONDS)
        yield Frame(np.zeros((1, 1, 3), np.uint8), 0, Fraction(0))

    def close(self):
        pass


def test_a_live_source_that_waits_is_closed(said):
    source = Stuck()
    source.close = source.free.set
    reader = Capture(source, Statistics())
    before = set(threading.enumerate())
    reader.start()
    assert source.waits.wait(SECONDS)
    reader.stop()
    assert said() == []
    assert source.free.is_set()
    assert set(threading.enumerate()) <= before


def test_a_live_source_is_closed_once_and_before_its_thread_is_waited_for(monkeypatch):
    order, source = [], Stuck()
    source.close = lambda: (order.append("closed"), source.free.set())
    reader = Capture(source, Statistics())
    join = reader._thread.join
    monkeypatch.setattr(
        reader._thread, "join", lambda s: (order.append("waited for"), join(s))
    )
    reader.start()
    assert source.waits.wait(SECONDS)
    reader.stop()
    assert order == ["closed", "waited for"]


def test_a_live_source_that_comes_back_too_late_is_closed(monkeypatch, said):
    """It is opened, which cannot be interrupted, while the run stops."""
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.001)
    opens, may_open = threading.Event(), threading.Event()

    class Lost(Stuck):
        def __iter__(self):
            raise SourceLostError("camera is gone")

    class Late(Stuck):
        closed = 0

        def close(self):
            self.closed += 1
            self.free.set()

    late = Late()

    def reopen():
        opens.set()
        assert may_open.wait(SECONDS)
        return late

    reader = Capture(Lost(), Statistics(), reopen=reopen)
    join = reader._thread.join
    monkeypatch.setattr(reader._thread, "join", lambda s: (may_open.set(), join(s)))
    reader.start()
    assert opens.wait(SECONDS)
    reader.stop()
    assert late.closed == 1
    assert said() == ["camera is gone; trying again until it is back"]


def test_a_source_that_hangs_is_left_behind(monkeypatch, said):
    monkeypatch.setattr(capture, "_PATIENCE_S", 0.05)
    source = Stuck()
    reader = Capture(source, Statistics())
    reader.start()
    reader.stop()
    assert said() == ["camera does not stop; left behind"]
    source.free.set()
    reader._thread.join(SECONDS)


def test_a_file_is_read_ahead_by_three_frames_at_most():
    taken = []

    class File(Stuck):
        info = SourceInfo(description="f", time_base=Fraction(1), fps=Fraction(1))

        def __iter__(self):
            for index in range(100):
                taken.append(index)
                yield Frame(np.zeros((1, 1, 3), np.uint8), index, Fraction(index))

    statistics = Statistics()
    reader = Capture(File(), statistics)
    reader.start()
    assert reader.queue.get(SECONDS)[0].index == 0
    reader.stop()
    assert len(taken) <= 6  # one is out, three in the queue, one waits to get in
    assert statistics["captured"] == statistics["dropped"] + 1
