"""The source's thread: pauses, sources that hang, and what becomes of every frame."""

import itertools
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from derain.core.errors import SourceLostError
from derain.runtime.pipeline import capture
from derain.runtime.pipeline.capture import Capture, pauses
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame, SourceInfo

SECONDS = 120  # far more than any of this takes
TICK = Fraction(1, 1000)


def frame(index=0):
    return Frame(np.zeros((1, 1, 3), np.uint8), index, index * TICK)


def info(**fields):
    return SourceInfo(
        **{"description": "camera", "time_base": TICK, "fps": Fraction(1), **fields}
    )


def test_pauses_double_up_to_ten_seconds():
    assert list(itertools.islice(pauses(lambda: 0), 7)) == [0.5, 1, 2, 4, 8, 10, 10]


def test_chance_takes_at_most_half_away():
    assert list(itertools.islice(pauses(lambda: 1), 3)) == [0.25, 0.5, 1]
    assert len(set(itertools.islice(pauses(), 5, 25))) > 1


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Enough of it for a machine that stands still for a while."""
    monkeypatch.setattr(capture, "_PATIENCE_S", SECONDS)
    monkeypatch.setattr(capture, "_PATIENCE_LIVE_S", SECONDS)


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.001)


class Stuck:
    """A live source that waits for a frame until it is set free."""

    info = info(live=True)

    def __init__(self):
        self.free, self.waits = threading.Event(), threading.Event()
        self.closed = 0

    def __iter__(self):
        self.waits.set()
        self.free.wait(5 * SECONDS)
        yield frame()

    def interrupt(self):
        pass

    def close(self):
        self.closed += 1


class Clip(Stuck):
    """A source of `count` frames; live ones are followed by `then()`."""

    def __init__(self, count, then=lambda: None, **fields):
        super().__init__()
        self.info = info(**fields)
        self.count, self.then, self.taken = count, then, 0

    def __iter__(self):
        for index in range(self.count):
            self.taken += 1
            yield frame(index)
        self.then()


def test_a_live_source_that_waits_is_interrupted_and_closed_once(said):
    source = Stuck()
    source.interrupt = source.free.set
    before = set(threading.enumerate())
    reader = Capture(source)
    assert source.waits.wait(SECONDS)
    reader.close()
    assert source.closed == 1
    assert said() == []
    assert set(threading.enumerate()) <= before


def test_closing_lets_go_whoever_waits_while_the_thread_hangs(monkeypatch):
    monkeypatch.setattr(capture, "_PATIENCE_LIVE_S", 0.05)
    source = Stuck()
    reader = Capture(source)
    waiting = threading.Thread(target=lambda: reader.get(SECONDS), daemon=True)
    waiting.start()
    assert source.waits.wait(SECONDS)
    reader.close()
    waiting.join(SECONDS)
    assert not waiting.is_alive()
    assert source.closed == 0  # its thread does that, when it returns
    source.free.set()
    reader._thread.join(SECONDS)
    assert source.closed == 1


def test_a_live_source_that_comes_back_too_late_is_closed(said, quick_pauses):
    """It is opened, which cannot be interrupted, while the run stops."""
    opens, may_open = threading.Event(), threading.Event()

    def fail():
        raise SourceLostError("camera is gone")

    late = Stuck()
    late.free.set()

    def reopen():
        opens.set()
        assert may_open.wait(SECONDS)
        return late

    reader = Capture(Clip(0, fail, live=True), reopen=reopen)
    assert opens.wait(SECONDS)
    threading.Timer(0.05, may_open.set).start()
    reader.close()
    assert late.closed == 1
    assert said() == ["camera is gone; trying again until it is back"]


def test_a_file_that_hangs_is_left_behind(monkeypatch, said):
    monkeypatch.setattr(capture, "_PATIENCE_S", 0.05)
    source = Stuck()
    source.info = info(description="a pipe")
    reader = Capture(source)
    reader.close()
    assert said() == ["a pipe does not stop; left behind"]
    source.free.set()
    reader._thread.join(SECONDS)


def test_a_file_is_read_ahead_by_three_frames_at_most():
    statistics = Statistics()
    source = Clip(100)
    reader = Capture(source, statistics)
    assert reader.get(SECONDS)[0].index == 0
    reader.close()
    assert source.taken <= 6  # one is out, three are queued, one waits to get in
    assert statistics["captured"] == statistics["dropped"] + 1


def test_a_limit_is_of_a_file():
    assert [f.index for f in Capture(Clip(9), limit=3)] == [0, 1, 2]
    source = Clip(9, live=True)
    assert next(iter(Capture(source, limit=3))).index >= 0
    assert source.taken > 3


def test_frames_that_nobody_takes_while_a_network_is_loaded_are_counted(until):
    """They were read, and are gone: they must not vanish from the statistics."""
    statistics = Statistics()
    source = Clip(500, live=True)
    with Capture(source, statistics) as frames:
        until(lambda: statistics["captured"] == 500)
        assert statistics["dropped"] == 499
        assert [f.index for f in frames] == [499]
    assert statistics["captured"] == 500 == statistics["dropped"] + 1


def test_the_end_of_an_endless_source_is_a_loss():
    with (
        Capture(Clip(1, live=True, endless=True, name="cam")) as frames,
        pytest.raises(SourceLostError, match=r"^cam is lost: it ended after 0 s"),
    ):
        list(frames)


def test_a_silent_source_is_lost():
    source = Stuck()
    source.info = info(live=True, timeout_s=0.05)
    interrupted = []
    source.interrupt = lambda: (interrupted.append(1), source.free.set())
    with (
        Capture(source) as frames,
        pytest.raises(SourceLostError, match=r"camera is lost: no frame for 0\.05 s"),
    ):
        list(frames)
    assert interrupted


def test_a_thread_that_hangs_is_left_behind_and_the_source_opened_again(
    said, until, quick_pauses
):
    statistics = Statistics()
    hangs = Stuck()
    hangs.info = info(live=True, timeout_s=0.05)
    back = Clip(3, lambda: time.sleep(0.001), live=True)
    with Capture(hangs, statistics, reopen=lambda: back) as reader:
        frames = list(reader)
        assert [f.index for f in frames][-1] == 2
        hangs.free.set()  # now it returns with a frame, which nobody wants any more
        until(lambda: hangs.closed)
    assert statistics["captured"] == len(frames) + statistics["dropped"] == 3
    assert statistics["reconnects"] == 1
    assert said() == [
        "camera is lost: no frame for 0.05 s; trying again until it is back",
        "the source is back after 0 s",
    ]
