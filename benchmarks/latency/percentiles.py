"""What raw latencies say: percentiles, outliers, and a speed-up with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Tukey's outer fence: of normally distributed latencies one in 400,000 lies beyond.
OUTLIER_FENCE = 3.0
INTERVAL = (2.5, 97.5)  # percentiles over the rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Frame-to-frame latencies, in ms.

    A percentile is None where there are too few frames for one of them to lie beyond.

    Attributes:
        frames: How many were timed.
        median_ms: Median.
        p90_ms: 90th percentile; wants 10 frames.
        p95_ms: 95th percentile; wants 20 frames.
        p99_ms: 99th percentile; wants 100 frames.
        min_ms: Shortest.
        max_ms: Longest.
        outliers: Frames above the third quartile by more than three interquartile
            ranges. They are in every figure here.
    """

    frames: int
    median_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    min_ms: float
    max_ms: float
    outliers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedUp:
    """How many times as fast as another row.

    Attributes:
        ratio: Of the medians over all frames.
        low: 2.5th percentile over the rounds of the ratio of medians in one round.
        high: 97.5th percentile of the same.
        rounds: Rounds that both took part in.
    """

    ratio: float
    low: float
    high: float
    rounds: int


def summarise(latencies_ms: Sequence[float]) -> Latency:
    """The figures of `latencies_ms`, of which there is at least one."""
    values = np.asarray(latencies_ms, np.float64)
    first, third = np.percentile(values, (25, 75))
    fence = third + OUTLIER_FENCE * (third - first)

    def percentile(percent: int) -> float | None:
        if len(values) * (100 - percent) < 100:
            return None
        return float(np.percentile(values, percent))

    return Latency(
        frames=len(values),
        median_ms=float(np.median(values)),
        p90_ms=percentile(90),
        p95_ms=percentile(95),
        p99_ms=percentile(99),
        min_ms=float(values.min()),
        max_ms=float(values.max()),
        outliers=int(np.count_nonzero(values > fence)),
    )


def speed_up(
    rounds: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]
) -> SpeedUp:
    """How much faster `rounds` is than `reference`: ms by round, of the same rounds."""
    pairs = list(zip(rounds, reference, strict=False))
    ratios = [float(np.median(theirs) / np.median(ours)) for ours, theirs in pairs]
    ours = [ms for sample, _ in pairs for ms in sample]
    theirs = [ms for _, sample in pairs for ms in sample]
    low, high = np.percentile(ratios, INTERVAL)
    return SpeedUp(
        ratio=float(np.median(theirs) / np.median(ours)),
        low=float(low),
        high=float(high),
        rounds=len(pairs),
    )
