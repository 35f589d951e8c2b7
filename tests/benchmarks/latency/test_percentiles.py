import numpy as np
import pytest

from derain.benchmarks.latency.percentiles import speed_up, summarise


def test_summarise_gives_the_percentiles():
    latency = summarise(np.arange(1.0, 201.0).tolist())
    assert latency.frames == 200
    assert latency.median_ms == 100.5
    assert latency.p90_ms == pytest.approx(180.1)
    assert latency.p99_ms == pytest.approx(198.01)
    assert (latency.min_ms, latency.max_ms) == (1.0, 200.0)


@pytest.mark.parametrize(
    ("frames", "absent"),
    [
        (9, {"p90_ms", "p95_ms", "p99_ms"}),
        (10, {"p95_ms", "p99_ms"}),
        (20, {"p99_ms"}),
        (100, set()),
    ],
)
def test_a_percentile_of_too_few_frames_is_absent(frames, absent):
    latency = summarise([1.0] * frames)
    names = ("p90_ms", "p95_ms", "p99_ms")
    assert {name for name in names if getattr(latency, name) is None} == absent


def test_outliers_are_counted_and_kept():
    latency = summarise([10.0, 10.5, 11.0, 10.2, 10.8, 300.0])
    assert latency.outliers == 1
    assert latency.max_ms == 300.0


def test_speed_up_is_the_ratio_of_medians_with_the_spread_of_the_rounds():
    speed = speed_up([[1.0, 1.0], [2.0, 2.0]], [[10.0], [10.0]])
    assert speed.ratio == pytest.approx(10 / 1.5)
    assert 5.0 <= speed.low < speed.high <= 10.0
    assert speed.rounds == 2


def test_speed_up_cancels_what_slows_both_in_one_round():
    steady, slowed = [[1.0], [1.0], [1.0]], [[1.0], [3.0], [1.0]]
    theirs = [[ms * 4 for ms in sample] for sample in slowed]
    paired = speed_up(slowed, theirs)
    assert paired.low == paired.high == pytest.approx(4.0)
    assert speed_up(steady, theirs).high > 4.0


def test_speed_up_takes_the_rounds_that_both_have():
    assert speed_up([[1.0]], [[5.0], [50.0]]).ratio == pytest.approx(5.0)
