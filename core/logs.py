"""What the toolkit says on its way: the standard `logging`, under ``derain.<module>``.

A module says ``_log = logging.getLogger(__name__)`` and then

- ``_log.debug``: what only somebody who looks for a fault wants to read,
- ``_log.info``: what is being done, and how long it took,
- ``_log.warning``: what the user should know; commands put ``note:`` in front.

Who uses derain as a library sees what they have configured, which without any
configuration is nothing. The commands show it on standard error: `shown`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from derain.core.reported import printable

ROOT = logging.getLogger("derain")
ROOT.addHandler(logging.NullHandler())  # without a handler, logging prints warnings


class _Echo(logging.Handler):
    """Lines on standard error, as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        # What is said may come out of any file: no control characters.
        lines = self.format(record).splitlines()
        mark = "note: " if record.levelno >= logging.WARNING else ""
        if record.levelno < logging.INFO:
            mark = f"{record.name}: "
        with suppress(OSError):  # whoever read it is gone
            for text in lines:
                click.echo(mark + printable(text), err=True)


@contextmanager
def shown(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Show what is said in the block on standard error.

    Args:
        quiet: Nothing at all.
        verbose: Details, too.
    """
    handler, before = _Echo(), ROOT.level
    ROOT.addHandler(handler)
    level = logging.DEBUG if verbose else logging.INFO
    ROOT.setLevel(logging.CRITICAL + 1 if quiet else level)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        ROOT.setLevel(before)


def is_shown() -> bool:
    """Whether a command shows what is being done: progress is for its user, too."""
    return ROOT.isEnabledFor(logging.INFO) and any(
        isinstance(handler, _Echo) for handler in ROOT.handlers
    )
