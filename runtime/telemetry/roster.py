"""The cameras of a run by name, for whoever shows what they say about themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from derain.runtime.telemetry.statistics import Statistics


class Watched(Protocol):
    """Statistics of one camera, whose name is empty, or of several."""

    def cameras(self) -> Sequence[tuple[str, Statistics]]:
        """Names and statistics as they are now; from any thread."""
        ...


class Roster:
    """Who is there now, in the order of their coming; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cameras: dict[str, Statistics] = {}

    def cameras(self) -> Sequence[tuple[str, Statistics]]:
        """See `Watched.cameras`."""
        with self._lock:
            return list(self._cameras.items())

    def put(self, name: str, statistics: Statistics) -> None:
        """`name` has these statistics from now on."""
        with self._lock:
            self._cameras[name] = statistics

    def remove(self, name: str) -> None:
        """`name` is there no more."""
        with self._lock:
            self._cameras.pop(name, None)
