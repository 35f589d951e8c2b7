import numpy as np

from derain.calibration.histograms import BINS, Histogram


def filled(*parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part, float(np.abs(part).max()))
    return histogram


def normal(seed, scale=1.0):
    values = np.random.default_rng(seed).normal(size=5000) * scale
    return values.astype(np.float32)


def test_counts_are_those_of_numpy():
    values = normal(0)
    histogram = filled(values)
    end = 2.0 ** np.ceil(np.log2(np.abs(values).max()))
    wanted, _ = np.histogram(np.abs(values), bins=BINS, range=(0, end))
    assert np.array_equal(histogram.counts, wanted)


def test_the_order_of_the_values_does_not_matter():
    parts = [normal(1, 0.01), normal(2, 30.0), normal(3, 1.0)]
    assert np.array_equal(filled(*parts).counts, filled(*parts[::-1]).counts)


def test_a_growing_range_loses_no_value():
    histogram = filled(*(normal(k, 10.0 ** (k - 3)) for k in range(7)))
    assert histogram.total == 7 * 5000
    assert histogram.largest / histogram.width > BINS / 2 - 1


def test_an_extreme_outside_the_sample_count():
    histogram = Histogram()
    histogram.add(np.ones(4, np.float32), 6.0)
    assert histogram.largest == 6.0


def test_zeros_alone_are_no_problem():
    histogram = filled(np.zeros(9, np.float32), np.full(3, 2.0, np.float32))
    assert histogram.total == 12
    assert histogram.counts[0] == 9


def test_json_keeps_everything():
    histogram = filled(normal(4))
    again = Histogram.from_json(histogram.to_json())
    assert np.array_equal(again.counts, histogram.counts)
    assert again.width == histogram.width
    assert again.largest == histogram.largest
