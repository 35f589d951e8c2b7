"""How far something long is: a line on standard error, a log line for each stage."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from derain.core.logs import is_shown

_log = logging.getLogger(__name__)
_BAR_WIDTH = 30
_TERMINAL_PERIOD_S = 0.1
_LOG_PERIOD_S = 5.0


class Progress:
    """A line that a terminal rewrites in place, or one every few seconds in a log.

    Args:
        stream: Where to write; None: standard error, and nothing under ``--quiet``.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._shows = stream is not None or is_shown()
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._started = self._shown = clock()
        self._width = 0
        self._line: Callable[[float], str] | None = None

    def update(self, line: Callable[[float], str]) -> None:
        """Show `line`, which is given the seconds since the start, if it is time to."""
        self._line = line
        now = self._clock()
        period = _TERMINAL_PERIOD_S if self._terminal else _LOG_PERIOD_S
        if self._shows and now - self._shown >= period:
            self._shown = now
            self._show(line(now - self._started))

    def close(self) -> None:
        """End the line, so that what follows starts on its own."""
        if self._shows and self._terminal and self._line is not None:
            self._show(self._line(self._clock() - self._started))
            self._stream.write("\n")
            self._stream.flush()
            self._line = None

    def _show(self, text: str) -> None:
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def frames_line(done: int, total: int | None, seconds: float) -> str:
    """A line such as ``[###---] 120/240 frames, 12.1 frames/s, 0:10 left``."""
    fps = done / seconds if seconds > 0 else 0.0
    if total is None:
        return f"{done} frames, {fps:.1f} frames/s"
    total = max(total, done)  # an estimate may be too low
    bar = _bar(done / total if total else 0.0)
    text = f"{bar} {done}/{total} frames, {fps:.1f} frames/s"
    return f"{text}, {_duration((total - done) / fps)} left" if fps else text


def clips_line(
    done: int, total: int, failed: int, frames: int, part: float, seconds: float
) -> str:
    """A line such as ``[###---] 12/40 clips, 31.2 frames/s, 0:12 left``.

    Args:
        done: Clips that are done or have failed.
        total: All of them.
        failed: Those that have failed.
        frames: Of the clips that are done.
        part: How much of the work that is, from 0 to 1.
        seconds: Since the start.
    """
    fps = frames / seconds if seconds > 0 else 0.0
    text = f"{_bar(part)} {done}/{total} clips, {fps:.1f} frames/s"
    if part > 0:
        text += f", {_duration(seconds * (1 - part) / part)} left"
    return f"{text}, {failed} failed" if failed else text


def phase_line(part: float, phase: str, seconds: float) -> str:
    """A line such as ``[###---]  50% 1:02 choosing kernels``."""
    return f"{_bar(part)} {part:4.0%} {_duration(seconds)} {phase}"


def _bar(part: float) -> str:
    filled = int(_BAR_WIDTH * part)
    return "[" + "#" * filled + "-" * (_BAR_WIDTH - filled) + "]"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Stages:
    """The stages of something long, each logged with the time it took.

    Attributes:
        seconds: How long each finished stage took, by name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a block as the stage `name`."""
        start = time.perf_counter()
        if is_shown() and sys.stderr.isatty():
            print(f"{name} ...", end="\r", file=sys.stderr, flush=True)  # noqa: T201
        yield
        took = time.perf_counter() - start
        self.seconds[name] = round(took, 2)
        _log.info("%-44s %6.1f s", name, took)
