"""Each method against a plain reference that sees the values, not a histogram."""

import math

import numpy as np
import pytest

from derain.calibration.histograms import Histogram
from derain.calibration.options import METHODS as OPTION_METHODS
from derain.calibration.ranges import METHODS, entropy, minmax, mse, percentile


def _samples():
    random = np.random.default_rng(5)
    normal = random.normal(size=40_000)
    return {
        "relu": np.maximum(normal, 0),
        "heavy tail": random.standard_t(3, size=40_000),
        "uniform": random.uniform(-3, 3, size=40_000),
        "outlier": np.append(normal, 60.0),
    }


SAMPLES = {name: x.astype(np.float32) for name, x in _samples().items()}
each_sample = pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)


def histogram_of(values):
    histogram = Histogram()
    for part in np.array_split(values, 7):
        histogram.add(part, float(np.abs(part).max()))
    return histogram


def squared_error(values, reach):
    step = reach / 127
    quantised = np.clip(np.round(values / step), -127, 127) * step
    return float(np.sum((values - quantised) ** 2))


@each_sample
def test_minmax_is_the_greatest_magnitude(values):
    assert minmax(histogram_of(values)) == np.abs(values).max()


@each_sample
def test_percentile_is_that_of_numpy(values):
    histogram = histogram_of(values)
    wanted = np.percentile(np.abs(values), 99.9, method="inverted_cdf")
    assert percentile(histogram, 99.9) == pytest.approx(wanted, abs=histogram.width)


@each_sample
def test_mse_finds_the_range_with_the_least_error(values):
    largest = float(np.abs(values).max())
    least = min(squared_error(values, k * largest / 500) for k in range(50, 501))
    # A search over 128 ranges and bins of finite width comes this close.
    assert squared_error(values, mse(histogram_of(values))) <= 1.03 * least


def reference_divergence(counts, end):
    """Migacz's slides, bin by bin."""
    wanted = [float(x) for x in counts[:end]]
    wanted[-1] += float(sum(counts[end:]))
    held = [0.0] * end
    for group in range(128):  # bin k is of group k * 128 // end
        members = range(-(-group * end // 128), -(-(group + 1) * end // 128))
        present = [k for k in members if counts[k] > 0]
        total = float(sum(counts[k] for k in members))
        for k in present:
            held[k] = total / len(present)
    p = [x / sum(wanted) for x in wanted]
    q = [x / sum(held) for x in held]
    divergence = 0.0
    for a, b in zip(p, q, strict=True):
        if a > 0:
            divergence += a * math.log(a / b) if b > 0 else math.inf
    return divergence


@pytest.mark.parametrize("name", ["relu", "heavy tail", "outlier"])
def test_entropy_is_close_to_the_least_divergence(name):
    histogram = histogram_of(SAMPLES[name])
    counts = histogram.counts.astype(float)
    counts[0] = counts[1]
    used = math.ceil(histogram.largest / histogram.width)
    counts = counts[:used]
    ends = np.linspace(128, used, 40).astype(int)
    least = min(reference_divergence(counts, int(end)) for end in ends)
    end = round(entropy(histogram) / histogram.width)
    assert reference_divergence(counts, end) <= least * 1.02 + 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_every_method_bears_zeros(method):
    zeros = np.zeros(100, np.float32)
    assert METHODS[method].find(histogram_of(zeros)) == 0.0


@pytest.mark.parametrize("method", METHODS)
@each_sample
def test_no_range_is_beyond_the_greatest_magnitude(method, values):
    assert 0 < METHODS[method].find(histogram_of(values)) <= np.abs(values).max()


def test_outliers_are_cut_by_all_but_minmax():
    histogram = histogram_of(SAMPLES["outlier"])
    reached = {name: row.find(histogram) for name, row in METHODS.items()}
    assert reached.pop("minmax") == 60.0
    assert max(reached["percentile"], reached["entropy"]) < 10.0
    assert reached["mse"] < 60.0  # one square of 55 weighs as much as 40,000 steps


def test_the_command_line_offers_every_method():
    assert set(OPTION_METHODS) == {"auto", *METHODS}
