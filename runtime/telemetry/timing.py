"""How long a stage of a run takes: percentiles of the last frames, sums of all."""

from __future__ import annotations

import threading
from collections import deque

PERCENTILES = (50, 95, 99)
_KEPT = 1024


class Timing:
    """Durations in milliseconds: their number and sum, and the last 1024 of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[float] = deque(maxlen=_KEPT)
        self.count = 0
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Take note of one duration."""
        with self._lock:
            self._last.append(ms)
            self.count += 1
            self.sum_ms += ms

    def percentiles(self) -> dict[str, float] | None:
        """``{"p50": ..., "p95": ..., "p99": ...}`` in ms; None without a value.

        They are values that occurred: the smallest that so many percent are not above.
        """
        with self._lock:
            ordered = sorted(self._last)
        if not ordered:
            return None
        return {
            f"p{percent}": round(ordered[(len(ordered) * percent - 1) // 100], 3)
            for percent in PERCENTILES
        }
