"""Temporary folders that go when the program ends; after a kill, at the next start."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
import weakref
from pathlib import Path

_SUFFIX = ".scratch"
_RANDOM = re.compile(r"[a-z0-9_]{8}")  # what tempfile puts into a name
_NEW_S = 60.0  # a folder younger than this may not be locked yet


class ScratchFolder(tempfile.TemporaryDirectory[str]):
    """A `tempfile.TemporaryDirectory` that removes those of killed programs first.

    A program holds a lock on each of its own; what nobody holds is left from one that
    is no more.

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
        descriptor = _locked(Path(self.name))
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
            facts = path.lstat()
            if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < _NEW_S:
                continue
            descriptor = _locked(path)
            if descriptor is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock on `folder`; None: another one does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # not every file system has locks
        os.close(descriptor)
        return None
    return descriptor
