"""Whose frame is next."""

import threading
import time
from collections import Counter
from fractions import Fraction
from types import SimpleNamespace

import pytest

from derain.runtime.pipeline.batching import Batching
from derain.runtime.pipeline.scheduler import Scheduler
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import SourceInfo


class Stream:
    """A camera whose frames wait since `waiting`, one after the other."""

    def __init__(self, name, waiting, log, *, live=True, fps=10, **options):
        info = SourceInfo(
            description=name, time_base=Fraction(1), fps=Fraction(fps), live=live
        )
        self.capture = SimpleNamespace(info=info, changed=None)
        defaults = {"max_latency_ms": None, "priority": 0, "late": "drop"}
        self.options = SimpleNamespace(
            name=name, statistics=Statistics(), **{**defaults, **options}
        )
        self.waiting, self.log = list(waiting), log
        self.over, self.lowered_fps, self.may_begin = False, None, 0.0
        self.served, self.spared, self.busy_s = 0, 0, 0.0
        self.stopped = False
        self.kind = "size"

    @property
    def waiting_since(self):
        return self.waiting[0] if self.waiting else None

    def serve(self):
        self.waiting.pop(0)
        self.log.append(self.options.name)
        self.served += 1

    def begin(self):
        self.waiting.pop(0)
        return self

    def finish(self, call):
        self.served += 1

    def tend(self):
        self.over = not self.waiting

    def stop(self):
        self.stopped = True

    def lower(self, fps):
        self.lowered_fps = fps


@pytest.fixture
def log():
    return []


@pytest.fixture
def now():
    return time.monotonic()


def run(*streams, **options):
    Scheduler(streams, **options).run()


def test_the_earliest_deadline_is_first_whoever_came_first(log, now):
    run(
        Stream("patient", [now - 0.05], log, max_latency_ms=500),
        Stream("urgent", [now - 0.01], log, max_latency_ms=50),
        Stream("usual", [now - 0.02], log),  # 10 frames/s: in 0.08 s
    )
    assert log == ["urgent", "usual", "patient"]


def test_a_file_takes_what_is_left_and_files_take_turns(log, now):
    run(
        Stream("file", [now - 9] * 3, log, live=False),
        Stream("film", [now - 9] * 3, log, live=False),
        Stream("camera", [now], log),
    )
    assert log[0] == "camera"
    assert Counter(log[1:5]) == {"file": 2, "film": 2}


def test_who_sends_more_than_it_said_gets_what_is_left(log, now):
    """Its deadlines are put off by its period, though each frame came first."""
    flood = Stream("flood", [now - 0.05] * 50, log)
    steady = Stream("steady", [now - 0.04] * 2, log)
    run(flood, steady)
    assert log.index("steady") == 1
    assert [i for i, name in enumerate(log) if name == "steady"][1] <= 3


def test_where_it_is_too_much_a_higher_priority_goes_first(log, now):
    early = Stream("early", [now - 1], log)
    prior = Stream("prior", [now - 0.1], log, priority=1)
    scheduler = Scheduler([early, prior])
    scheduler._load.is_behind = True
    scheduler.run()
    assert log == ["prior", "early"]


def test_a_lowered_rate_is_kept_to(log, now):
    slow = Stream("slow", [now] * 4, log)
    slow.lowered_fps = 100
    started = time.monotonic()
    run(slow)
    assert log == ["slow"] * 4
    # The first one opens a period that it does not wait for; no bound above.
    assert time.monotonic() - started >= 0.02


def test_a_frame_that_comes_wakes_it(log):
    stream = Stream("camera", [], log)
    stream.tend = lambda: setattr(stream, "over", bool(log))

    def come():
        stream.waiting.append(time.monotonic())
        stream.capture.changed()

    scheduler = Scheduler([stream])
    timer = threading.Timer(0.02, come)
    timer.start()
    scheduler.run()
    timer.join()
    assert log == ["camera"]


def test_it_stops_when_it_is_asked_to_and_lets_out_what_is_under_way(log, now):
    stream = Stream("camera", [now] * 9, log)
    run(stream, stopped=lambda: len(log) == 2)
    assert log == ["camera"] * 2
    assert stream.stopped


def test_cameras_come_and_go_while_it_runs(log, now):
    first, second = (Stream(name, [now] * 5, log) for name in ("first", "second"))
    ended = []

    def between():
        if log == ["first"]:
            scheduler.remove(first)
            scheduler.add(second)

    scheduler = Scheduler([first], between=between, ended=ended.append)
    scheduler.run()
    assert log == ["first"] + ["second"] * 5
    assert first.stopped
    assert ended == [second]


def test_who_sends_seldom_is_no_staler_than_its_interval_allows(log, now):
    """Without a bound, a frame is due an interval after it came: 1 s, and 20 ms."""
    run(
        Stream("seldom", [now - 0.9], log, fps=1),  # due in 0.1 s
        Stream("often", [now - 0.01], log, fps=50),  # in 0.01 s
        Stream("waits", [now - 1.5], log, fps=Fraction(1, 2)),  # in 0.5 s
    )
    assert log == ["often", "seldom", "waits"]


def test_a_fast_camera_does_not_keep_a_slow_one_beyond_its_interval(log, now):
    """However long what has piled up would take: the slow one's deadline is nearer."""
    run(
        Stream("fast", [now - 0.015] * 100, log, fps=50),
        Stream("slow", [now - 0.17], log, fps=5),  # due in 0.03 s
    )
    # Of the fast one, only frames that are due before: in 5 and 25 ms.
    assert log.index("slow") <= 3


class Together:
    """Notes whose frames go in one call, of three at most."""

    size, single_s, batch_s = 3, 0.01, 0.03

    def __init__(self, log, least=2):
        self.log, self.least = log, least

    keeps = Batching.keeps

    def kind(self, call):
        return call.kind

    def run(self, calls):
        if calls:
            names = [call.options.name for call in calls]
            self.log.append(names if len(names) > 1 else names[0])
        for call in calls:
            yield [call]


def test_those_that_wait_go_along_with_the_earliest(log, now):
    run(
        Stream("patient", [now - 0.05], log, max_latency_ms=900),
        Stream("urgent", [now - 0.01], log, max_latency_ms=200),
        Stream("file", [now - 9], log, live=False),
        Stream("usual", [now - 0.02], log, fps=2),
        batching=Together(log),
    )
    assert log == [["urgent", "usual", "patient"], "file"]


def test_fewer_than_gain_go_one_by_one(log, now):
    streams = [Stream(name, [now - 0.05], log) for name in ("a", "b")]
    run(*streams, batching=Together(log, least=3))
    assert sorted(log) == ["a", "b"]


def test_those_of_another_size_go_with_their_own(log, now):
    """From the second frame on: before the first one nobody knows its size."""
    streams = [Stream(name, [now - 0.05] * 3, log) for name in ("a", "b", "c", "d")]
    streams[1].kind = streams[3].kind = "other size"
    together = Together(log)
    together.size = 4
    run(*streams, batching=together)
    assert {frozenset(names) for names in log[1:]} == {frozenset("ac"), frozenset("bd")}


def test_a_lone_frame_is_not_held_back(log, now):
    first = Stream("first", [now], log)
    second = Stream("second", [], log)
    second.tend = lambda: setattr(second, "over", True)
    run(first, second, batching=Together(log))
    assert log == ["first"]


@pytest.mark.parametrize("bounds_s", [(200, 500, 500), (50, 250, 500)])
def test_none_is_made_late_by_company(log, now, bounds_s):
    """Enough for calls of their own, or too little for any; not for one of 300 s."""
    together = Together(log)
    together.single_s, together.batch_s = 100, 300
    names = ("first", "second", "third")
    run(
        *(
            Stream(name, [now], log, max_latency_ms=1000 * bound_s)
            for name, bound_s in zip(names, bounds_s, strict=True)
        ),
        batching=together,
    )
    assert log[0] == "first"
