"""Histograms of |x| that grow as values come in, in one pass and in fixed memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096
_LEAST_EXPONENT = -100  # of the grid's end: a tensor of zeros has one, too


class Histogram:
    """How often each magnitude occurs, on a grid that ends at a power of two.

    When a value falls beyond the grid, its range doubles and neighbouring bins become
    one. Their counts add up exactly, so the result does not depend on the order of the
    values, and at least half of the bins are in use.

    Attributes:
        counts: `(BINS,)` int64; bin k holds magnitudes in [k, k + 1) times `width`,
            the last one its upper end as well.
        largest: Greatest magnitude seen, also of values that were not counted.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.largest = 0.0
        self._exponent: int | None = None  # of the grid's end; None before any value

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self._exponent or 0) / BINS

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of every bin, `(BINS,)`."""
        return np.asarray((np.arange(BINS) + 0.5) * self.width, np.float64)

    def add(self, values: NDArray[np.float32], largest: float) -> None:
        """Count `values`, a sample of a tensor.

        Args:
            values: Of any shape; finite.
            largest: Greatest magnitude of the whole tensor.
        """
        self.largest = max(self.largest, largest)
        self._grow(self.largest)
        scale = np.float32(1 / self.width)
        bins = (np.abs(values).ravel() * scale).astype(np.int32)
        np.minimum(bins, BINS - 1, out=bins)
        self.counts += np.bincount(bins, minlength=BINS)

    def _grow(self, largest: float) -> None:
        exponent = max(math.frexp(largest)[1], _LEAST_EXPONENT)
        if self._exponent is None or not self.counts.any():
            self._exponent = exponent
        while self._exponent < exponent:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([pairs, np.zeros_like(pairs)])
            self._exponent += 1

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes; runs of empty bins at the end are left out."""
        used = int(np.flatnonzero(self.counts)[-1]) + 1 if self.total else 0
        return {
            "exponent": self._exponent,
            "largest": self.largest,
            "counts": self.counts[:used].tolist(),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Histogram:
        """The histogram that `to_json` wrote."""
        histogram = cls()
        counts = np.asarray(fields["counts"], np.int64)
        histogram.counts[: counts.size] = counts
        histogram.largest = float(fields["largest"])
        histogram._exponent = fields["exponent"]
        return histogram
