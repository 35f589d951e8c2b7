"""Progress of a long command: what is being done, and how long it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


class Stages:
    """Prints a line per stage on standard error.

    Attributes:
        seconds: How long each finished stage took, by name.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._quiet = quiet
        self._live = sys.stderr.isatty()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a block as the stage `name`."""
        start = time.perf_counter()
        if self._live:
            self._print(f"{name} ...", end="\r")
        yield
        took = time.perf_counter() - start
        self.seconds[name] = round(took, 2)
        self._print(f"{name:<44} {took:6.1f} s")

    def note(self, text: str) -> None:
        """Print a line that is worth reading."""
        self._print(text)

    def _print(self, text: str, end: str = "\n") -> None:
        if not self._quiet:
            print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201
