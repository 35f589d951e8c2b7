"""SIGTERM as an orderly end: what was made on the way is removed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import click


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """While active, the first SIGTERM ends the program as Ctrl-C does; a second kills.

    Temporary folders and half-made bundles go on the way out, which the signal's own
    effect does not let them. The exit status is 143. Unlike
    `derain.runtime.interrupts`, it waits for no frame: nothing is worth keeping before
    the end. For the main thread.
    """
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    click.echo("stopped by SIGTERM", err=True)
    raise SystemExit(128 + number)
