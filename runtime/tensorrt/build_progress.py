"""How far a build is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_BAR_WIDTH = 30
_LOG_PERIOD_S = 10.0


class BuildProgress:
    """A line that a terminal rewrites in place, or one every ten seconds in a log.

    Args:
        stream: Where to write; standard error by default.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._started = self._shown = clock()
        self._part = 0.0
        self._phase = "starting"
        self._width = 0

    def update(self, part: float | None, phase: str) -> None:
        """Take note of how far it is; None only lets the time go on."""
        if part is not None:
            self._part, self._phase = part, phase
        now = self._clock()
        if self._terminal:
            self._write(now)
        elif now - self._shown >= _LOG_PERIOD_S:
            self._shown = now
            self._stream.write(self._line(now) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Clear the line."""
        if self._terminal:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def _write(self, now: float) -> None:
        line = self._line(now)
        self._stream.write("\r" + line.ljust(self._width))
        self._width = len(line)
        self._stream.flush()

    def _line(self, now: float) -> str:
        filled = round(_BAR_WIDTH * self._part)
        bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
        minutes, seconds = divmod(int(now - self._started), 60)
        return f"[{bar}] {self._part:4.0%} {minutes}:{seconds:02} {self._phase}"
