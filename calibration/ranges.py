"""How far the 255 steps of INT8 should reach: from a histogram to a range.

INT8 here is symmetric with zero point 0: a range `r` means steps of ``r / 127`` from
``-r`` to ``r``; what lies beyond is cut. A method is a function from a `Histogram` of
magnitudes to `r`; all but min-max weigh what is cut against finer steps for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from derain.calibration.histograms import Histogram

LEVELS = 127  # positive steps
PERCENT = 99.99  # what others take by default, and what shows no clipping on pictures
_CANDIDATES = 128  # ranges that the searches look at


@dataclass(frozen=True, slots=True)
class RangeMethod:
    """One row of the table.

    Attributes:
        find: From a histogram to a range above 0.
        summary: One line for ``--help``.
    """

    find: Callable[[Histogram], float]
    summary: str


def minmax(histogram: Histogram) -> float:
    """The greatest magnitude: nothing is cut."""
    return histogram.largest


def percentile(histogram: Histogram, percent: float = PERCENT) -> float:
    """The magnitude below which `percent` of the values lie."""
    cumulated = np.cumsum(histogram.counts)
    wanted = cumulated[-1] * (percent / 100.0)
    last = int(np.searchsorted(cumulated, wanted))
    return min((last + 1) * histogram.width, histogram.largest)


def mse(histogram: Histogram) -> float:
    """The range with the least squared error between values and their INT8 form."""
    if histogram.largest == 0:
        return 0.0
    ends = _candidates(histogram)
    errors = [_squared_error(histogram, end) for end in ends]
    return float(ends[int(np.argmin(errors))])


def entropy(histogram: Histogram) -> float:
    """The range whose INT8 form has the least Kullback-Leibler divergence.

    Source: Migacz, "8-bit Inference with TensorRT", GTC 2017. Zeros, of which a ReLU
    makes many, are exact at every range and are left out, as TensorRT does.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    if not counts.any():
        return histogram.largest
    used = int(np.ceil(histogram.largest / histogram.width))
    first = min(LEVELS + 1, used)
    ends = np.unique(np.linspace(first, used, _CANDIDATES).astype(int))
    divergences = [_divergence(counts[:used], int(end)) for end in ends]
    best = int(ends[int(np.argmin(divergences))])
    return min(best * histogram.width, histogram.largest)


METHODS = {
    "minmax": RangeMethod(minmax, "the greatest value; nothing is cut"),
    "percentile": RangeMethod(percentile, f"{PERCENT} % of the values"),
    "entropy": RangeMethod(entropy, "least Kullback-Leibler divergence"),
    "mse": RangeMethod(mse, "least squared error"),
}


def _candidates(histogram: Histogram) -> NDArray[np.float64]:
    """Ranges from an eighth of the greatest magnitude up to it."""
    return np.linspace(histogram.largest / 8, histogram.largest, _CANDIDATES)


def _squared_error(histogram: Histogram, end: float) -> float:
    step = end / LEVELS
    values = histogram.centres
    quantised = np.minimum(np.rint(values / step), LEVELS) * step
    # Zeros are exact, and in the first bin there are hardly any other values.
    return float(histogram.counts[1:] @ np.square(values - quantised)[1:])


def _divergence(counts: NDArray[np.float64], end: int) -> float:
    """KL divergence of `counts` from what `end` bins in `LEVELS` steps can hold."""
    inside = counts[:end]
    if not inside.any():
        return math.inf
    wanted = inside.copy()
    wanted[-1] += counts[end:].sum()
    groups = np.minimum(np.arange(end) * (LEVELS + 1) // end, LEVELS)
    present = inside > 0
    sums = np.bincount(groups, weights=inside, minlength=LEVELS + 1)
    members = np.bincount(groups, weights=present, minlength=LEVELS + 1)
    held = np.where(present, (sums / np.maximum(members, 1))[groups], 0.0)
    p, q = wanted / wanted.sum(), held / held.sum()
    if np.any((p > 0) & (q == 0)):  # cut values that no bin of the grid can hold
        q = np.where((p > 0) & (q == 0), 1e-4 / end, q)
        q /= q.sum()
    here = p > 0
    return float(np.sum(p[here] * np.log(p[here] / q[here])))
