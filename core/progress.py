"""How far a run is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_BAR_WIDTH = 30
_TERMINAL_PERIOD_S = 0.1
_LOG_PERIOD_S = 5.0


class Progress:
    """A line that a terminal rewrites in place, or one every few seconds in a log.

    Args:
        total: How many frames are expected; None if unknown.
        stream: Where to write; standard error by default.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        total: int | None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._started = self._shown = clock()
        self._done = 0
        self._width = 0

    def update(self, done: int) -> None:
        """Take note that `done` frames are finished."""
        self._done = done
        now = self._clock()
        period = _TERMINAL_PERIOD_S if self._terminal else _LOG_PERIOD_S
        if now - self._shown >= period:
            self._shown = now
            self._show(now)

    def close(self) -> None:
        """End the line, so that what follows starts on its own."""
        if self._terminal and self._done:
            self._show(self._clock())
            self._stream.write("\n")
            self._stream.flush()

    def _show(self, now: float) -> None:
        line = describe(self._done, self._total, now - self._started)
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def describe(done: int, total: int | None, seconds: float) -> str:
    """A line such as ``[###---] 120/240 frames, 12.1 frames/s, 0:10 left``."""
    fps = done / seconds if seconds > 0 else 0.0
    if total is None:
        return f"{done} frames, {fps:.1f} frames/s"
    total = max(total, done)  # an estimate may be too low
    filled = _BAR_WIDTH * done // total if total else 0
    bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
    text = f"[{bar}] {done}/{total} frames, {fps:.1f} frames/s"
    return f"{text}, {_duration((total - done) / fps)} left" if fps else text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
