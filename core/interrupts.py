"""Ctrl-C, SIGTERM and SIGHUP: stop after the frame at hand, or end in good order."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import click


class Interrupts:
    """While active, a first signal ends nothing in its middle; a second one ends us.

    The signals are SIGINT, SIGTERM and SIGHUP; under ``nohup`` the last stays ignored.
    ``with Interrupts() as interrupts:`` in the main thread. An exception in the middle
    of a write would tear the file; a note is read between frames. Until it is asked
    for the first time, there is nothing to tear: what is opened and loaded then may
    take for ever, and a signal ends it as Ctrl-C does.

    Args:
        hangs_up: Whether SIGHUP asks to stop; else it is told and nothing more: the
            terminal goes, or a service manager asks for another configuration.

    Attributes:
        received: The signal that asked to stop, or None.
    """

    received: signal.Signals | None = None

    def __init__(self, *, hangs_up: bool = True) -> None:
        self._hangs_up = hangs_up
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def stopped(self) -> signal.Signals | None:
        """The signal that asked to stop, or None; from now on, it is only noted."""
        self._asked = True
        return self.received

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            if number != signal.SIGHUP or before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._note)
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
        if number == signal.SIGHUP and not self._hangs_up:
            # Not by way of sys.stderr: this may interrupt somebody who writes there.
            with contextlib.suppress(OSError):
                os.write(2, b"note: SIGHUP: the run goes on; SIGTERM ends it\n")
            return
        self.received = signal.Signals(number)
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        if not self._asked:
            _leave(number, frame)


@contextlib.contextmanager
def noted_hangups() -> Iterator[threading.Event]:
    """While active, SIGHUP sets what is given, and does nothing else.

    For the main thread.
    """
    noted = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda number, frame: noted.set())
    try:
        yield noted
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """While active, a first SIGTERM or SIGHUP ends the program as Ctrl-C does.

    A second one kills. Temporary folders and half-made bundles go on the way out, which
    the signals' own effect does not let them. The exit status is 143 or 129. Under
    ``nohup`` SIGHUP stays ignored. Unlike `Interrupts`, it waits for no frame: nothing
    is worth keeping before the end. For the main thread.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    # The terminal that SIGHUP tells of may be gone, and standard error with it.
    with contextlib.suppress(OSError):
        click.echo(f"stopped by {signal.Signals(number).name}", err=True)
    raise SystemExit(128 + number)
