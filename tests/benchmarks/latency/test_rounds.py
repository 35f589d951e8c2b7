import itertools

import pytest

from derain.benchmarks.latency import rounds
from derain.benchmarks.latency.rounds import Pace, interleave, warm_up
from derain.benchmarks.latency.runners import Sample
from derain.core.errors import CandidateError


class Clock:
    """Time that passes only where a frame is derained or somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(rounds, "time", clock)
    return clock


class Fake:
    """A row whose frames take what `latencies_ms` says."""

    def __init__(self, clock, latencies_ms, log=None, name=""):
        self.clock = clock
        self.latencies_ms = iter(latencies_ms)
        self.log = [] if log is None else log
        self.name = name

    def sample(self, count):
        self.log.append(self.name)
        taken = [next(self.latencies_ms) for _ in range(count)]
        self.clock.now += sum(taken) / 1000
        return Sample(taken, [{} for _ in taken])


class Failing(Fake):
    def sample(self, count):
        if len(self.log) >= 2:
            raise CandidateError("it broke")
        return super().sample(count)


def test_warm_up_ends_when_two_windows_agree(clock):
    falling = itertools.chain(range(200, 100, -2), itertools.repeat(100))
    warm, typical_ms = warm_up(Fake(clock, falling), Pace(warm_up_s=100.0))
    assert warm.settled
    assert typical_ms == 100
    assert 50 < warm.frames < 70


def test_warm_up_of_a_row_that_never_settles_ends(clock):
    growing = (1.1**i for i in itertools.count())
    warm, _ = warm_up(Fake(clock, growing), Pace(warm_up_s=2.0))
    assert not warm.settled
    assert 2.0 < warm.seconds < 3.0


def test_a_row_slower_than_the_warm_up_derains_one_frame(clock):
    warm, typical_ms = warm_up(Fake(clock, [60000.0]), Pace(warm_up_s=10.0))
    assert (warm.frames, typical_ms) == (1, 60000.0)


def test_rounds_go_on_for_the_duration_and_turns_are_filled(clock):
    fast = Fake(clock, itertools.repeat(10.0))
    slow = Fake(clock, itertools.repeat(2000.0))
    outcomes = interleave(
        {"fast": fast, "slow": slow},
        {"fast": 10.0, "slow": 2000.0},
        Pace(duration_s=12.0, min_rounds=1, sample_s=0.5),
        None,
    )
    assert [len(sample.latencies_ms) for sample in outcomes["fast"].samples] == [50] * 5
    assert [len(sample.latencies_ms) for sample in outcomes["slow"].samples] == [1] * 5


def test_there_are_at_least_so_many_rounds(clock):
    slow = Fake(clock, itertools.repeat(9000.0))
    pace = Pace(duration_s=1.0, min_rounds=3)
    outcomes = interleave({"slow": slow}, {"slow": 9000.0}, pace, None)
    assert len(outcomes["slow"].samples) == 3


def test_every_row_takes_part_in_every_round_in_changing_order(clock):
    log = []
    rows = {
        name: Fake(clock, itertools.repeat(600.0), log, name)
        for name in ("a", "b", "c")
    }
    pace = Pace(duration_s=0.0, min_rounds=8)
    interleave(rows, dict.fromkeys(rows, 600.0), pace, None)
    orders = {tuple(log[i : i + 3]) for i in range(0, len(log), 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 1


def test_a_row_that_fails_leaves_with_what_it_did(clock):
    failing, steady = (
        Failing(clock, itertools.repeat(5.0)),
        Fake(clock, itertools.repeat(5.0)),
    )
    pace = Pace(duration_s=0.0, min_rounds=4)
    outcomes = interleave(
        {"failing": failing, "steady": steady},
        {"failing": 5.0, "steady": 5.0},
        pace,
        None,
    )
    assert str(outcomes["failing"].error) == "it broke"
    assert len(outcomes["failing"].samples) == 2
    assert len(outcomes["steady"].samples) == 4


def test_energy_is_that_of_the_turns(clock):
    class Meter:
        """Five watts, whoever runs."""

        def joules(self):
            return clock.now * 5

    row = Fake(clock, itertools.repeat(1000.0))
    pace = Pace(duration_s=0.0, min_rounds=2)
    outcomes = interleave({"row": row}, {"row": 1000.0}, pace, Meter())
    assert outcomes["row"].joules == pytest.approx([5.0, 5.0])
