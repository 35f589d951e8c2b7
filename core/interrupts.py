"""Ctrl-C and SIGTERM as a request to stop after the frame at hand."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While active, the first SIGINT or SIGTERM is only noted; a second one ends us.

    ``with Interrupts() as interrupts:`` in the main thread. An exception in the middle
    of a write would tear the file; a note is read between frames.

    Attributes:
        received: The signal that asked to stop, or None.
    """

    received: signal.Signals | None = None

    def __enter__(self) -> Interrupts:
        self._before: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
