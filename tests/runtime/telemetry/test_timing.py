"""Percentiles and sums of durations."""

from derain.runtime.telemetry.timing import Timing


def test_percentiles_are_values_that_occurred():
    timing = Timing()
    assert timing.percentiles() is None
    for value in range(100, 0, -1):
        timing.add(value)
    assert timing.percentiles() == {"p50": 50, "p95": 95, "p99": 99}
    assert (timing.count, timing.sum_ms) == (100, 5050)


def test_one_value_is_all_percentiles():
    timing = Timing()
    timing.add(7)
    assert timing.percentiles() == {"p50": 7, "p95": 7, "p99": 7}


def test_percentiles_are_of_the_last_1024_and_sums_of_all():
    timing = Timing()
    for value in [1000.0] * 5000 + [1.0] * 1024:
        timing.add(value)
    assert timing.percentiles() == {"p50": 1, "p95": 1, "p99": 1}
    assert timing.count == 6024
