"""SIGTERM and SIGHUP as an orderly end: what was made on the way is removed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import click

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """While active, a first SIGTERM or SIGHUP ends the program as Ctrl-C does.

    A second one kills. Temporary folders and half-made bundles go on the way out, which
    the signals' own effect does not let them. The exit status is 143 or 129. Under
    ``nohup`` SIGHUP stays ignored. Unlike `derain.core.interrupts`, it waits for no
    frame: nothing is worth keeping before the end. For the main thread.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
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
