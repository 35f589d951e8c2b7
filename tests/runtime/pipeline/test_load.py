"""Whether the network keeps up, and who gives way."""

from types import SimpleNamespace

import pytest

from derain.runtime.pipeline.load import (
    BUDGET,
    WINDOW_S,
    Demand,
    LoadWatch,
    lowered_rates,
)
from derain.runtime.telemetry.statistics import Statistics


def demand(fps=10, ms=10, priority=0, slows=True):
    return Demand(fps=fps, service_s=ms / 1000, priority=priority, slows=slows)


def test_what_fits_comes_as_it_is():
    assert lowered_rates([demand(), demand()]) == [None, None]
    assert lowered_rates([]) == []


def test_the_lowest_priority_gives_way_first_and_alone_where_that_is_enough():
    # 0.5 + 0.5 of the time: 0.4 are left for the second, which is 8 of 10 frames/s.
    rates = lowered_rates([demand(ms=50, priority=1), demand(ms=50)], budget=0.9)
    assert rates == [None, pytest.approx(8)]


def test_all_of_one_priority_give_the_same_share():
    rates = lowered_rates([demand(fps=30, ms=40), demand(fps=15, ms=40)], budget=0.9)
    assert rates == [pytest.approx(15), pytest.approx(7.5)]


def test_who_may_not_be_lowered_is_served_first():
    cameras = [demand(ms=50, slows=False), demand(ms=50, priority=9)]
    assert lowered_rates(cameras, budget=0.9) == [None, pytest.approx(8)]


def test_nobody_is_lowered_to_nothing():
    assert lowered_rates([demand(ms=500, slows=False), demand()]) == [None, 1.0]


class Stream:
    """A camera at `fps`, for which the network needs `ms` a frame."""

    def __init__(self, fps, ms, late="drop", name="", live=True, max_latency_ms=None):
        self.capture = SimpleNamespace(info=SimpleNamespace(live=live))
        self.options = SimpleNamespace(
            name=name,
            late=late,
            priority=0,
            statistics=Statistics(),
            max_latency_ms=max_latency_ms,
        )
        self.fps, self.ms = fps, ms
        self.spared = 0
        self.served, self.busy_s, self.lowered_fps = 0, 0.0, None

    def passes(self, seconds):
        self.options.statistics.count("captured", round(self.fps * seconds))
        self.served += 10
        self.busy_s += self.ms / 100

    def lower(self, fps):
        self.lowered_fps = fps


@pytest.fixture
def watched():
    """Lets windows pass over streams: ``watched(stream, ...)``."""

    def watch(*streams, windows=1):
        now = [0.0]
        load = LoadWatch(lambda: now[0])
        load.look(streams)
        for _ in range(windows):
            now[0] += WINDOW_S
            for stream in streams:
                stream.passes(WINDOW_S)
            load.look(streams)
        return load

    return watch


def test_it_is_said_once_with_the_numbers(watched, said):
    load = watched(Stream(25, 80), windows=3)
    assert load.is_behind
    assert said() == [
        "cannot keep up: the source brings 25.0 frames/s, the network takes 80.0 ms a "
        "frame here, which is 12.5 frames/s; what is too much is dropped. A smaller "
        "size or a faster bundle helps, or fewer frames at the source"
    ]


def test_of_several_it_says_what_becomes_of_each(watched, said):
    streams = [
        Stream(20, 40, name="yard"),
        Stream(20, 40, "pass", "gate", max_latency_ms=100),
        Stream(20, 40, "slow", "road"),
    ]
    watched(*streams)
    (line,) = said()
    assert "3 cameras bring 60.0 frames/s, the network takes 40.0 ms a frame" in line
    assert "yard: what is too much is dropped; gate: what is too late passes" in line
    assert "road: lowered to 1.0 frames/s" in line
    assert streams[2].lowered_fps == 1.0
    assert [each.options.statistics.load for each in streams] == [
        pytest.approx(2.4)
    ] * 3


def test_a_rate_is_lowered_to_what_fits(watched):
    stream = Stream(25, 80, "slow")
    watched(stream)
    assert stream.lowered_fps == pytest.approx(BUDGET / 0.08)


def test_dry_scenes_are_no_load(watched):
    stream = Stream(25, 80)
    passes = stream.passes

    def dry(seconds):
        passes(seconds)
        stream.spared += round(25 * seconds * 0.9)

    stream.passes = dry
    assert not watched(stream).is_behind
    assert stream.options.statistics.load == pytest.approx(0.2, abs=0.02)


def test_who_keeps_up_hears_nothing_and_a_file_is_no_load(watched, said):
    assert not watched(Stream(25, 30), Stream(1000, 80, live=False)).is_behind
    assert said() == []
