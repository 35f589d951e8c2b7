"""Temporary folders that go when the program ends; after a kill, at the next start."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

from derain.core.holds import hold, take_over

_SUFFIX = ".scratch"
_RANDOM = re.compile(r"[a-z0-9_]{8}")  # what tempfile puts into a name


class ScratchFolder(tempfile.TemporaryDirectory[str]):
    """A `tempfile.TemporaryDirectory` that removes those of killed programs first.

    See `derain.core.holds`.

    Args:
        prefix: How its name begins.
        parent: Where it is; None: where temporary files are.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, prefix: str = "derain-", parent: Path | None = None) -> None:
        where = Path(tempfile.gettempdir()) if parent is None else parent
        remove_abandoned(where, prefix)
        super().__init__(
            prefix=prefix, suffix=_SUFFIX, dir=where, ignore_cleanup_errors=True
        )
        descriptor = hold(Path(self.name))
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.name)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the scratch folders in `parent` that no program holds any more."""
    with contextlib.suppress(OSError):
        for path in parent.iterdir():
            name = path.name
            if not (name.startswith(prefix) and name.endswith(_SUFFIX)):
                continue
            if not _RANDOM.fullmatch(name[len(prefix) : -len(_SUFFIX)]):
                continue
            descriptor = take_over(path)
            if descriptor is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)
