"""The source's thread: pauses between attempts, and sources that hang."""

import itertools
import threading
from fractions import Fraction

import numpy as np

from derain.runtime.loop import intake
from derain.runtime.loop.intake import Intake, pauses
from derain.runtime.loop.statistics import Statistics
from derain.runtime.video.base import Frame, SourceInfo


def test_pauses_double_up_to_ten_seconds():
    assert list(itertools.islice(pauses(lambda: 0), 7)) == [0.5, 1, 2, 4, 8, 10, 10]


def test_chance_takes_at_most_half_away():
    assert list(itertools.islice(pauses(lambda: 1), 3)) == [0.25, 0.5, 1]
    assert len(set(itertools.islice(pauses(), 5, 25))) > 1


class Stuck:
    info = SourceInfo(
        description="camera", time_base=Fraction(1), fps=Fraction(1), live=True
    )

    def __init__(self):
        self.free = threading.Event()

    def __iter__(self):
        self.free.wait(30)
        yield Frame(np.zeros((1, 1, 3), np.uint8), 0, Fraction(0))

    def close(self):
        pass


def test_a_live_source_that_waits_is_closed(monkeypatch):
    monkeypatch.setattr(intake, "_GRACE_S", 0.05)
    told, source = [], Stuck()
    source.close = source.free.set
    reader = Intake(source, Statistics(), tell=told.append)
    reader.start()
    reader.stop()
    assert told == []
    assert source.free.is_set()
    assert "source" not in {thread.name for thread in threading.enumerate()}


def test_a_source_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(intake, "_GRACE_S", 0.05)
    monkeypatch.setattr(intake, "_PATIENCE_S", 0.05)
    told, source = [], Stuck()
    reader = Intake(source, Statistics(), tell=told.append)
    reader.start()
    reader.stop()
    assert told == ["camera does not stop; left behind"]
    source.free.set()


def test_a_file_is_read_ahead_by_three_frames_at_most():
    taken = []

    class File(Stuck):
        info = SourceInfo(description="f", time_base=Fraction(1), fps=Fraction(1))

        def __iter__(self):
            for index in range(100):
                taken.append(index)
                yield Frame(np.zeros((1, 1, 3), np.uint8), index, Fraction(index))

    statistics = Statistics()
    reader = Intake(File(), statistics)
    reader.start()
    assert reader.mailbox.get(30)[0].index == 0
    reader.stop()
    assert len(taken) <= 6  # one is out, three in the mailbox, one waits to get in
    assert statistics["captured"] == statistics["dropped"] + 1
