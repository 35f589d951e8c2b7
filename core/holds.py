"""Whose a temporary file or folder is: a program holds a lock on each of its own.

What nobody holds is left from a program that is no more.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_NEW_S = 60.0  # what is younger may not be held yet, or was let go to get its name


def hold(path: Path) -> int | None:
    """A descriptor that holds `path` until it is closed; None: another one does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if hold_open(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def hold_open(descriptor: int) -> bool:
    """Hold what is open as `descriptor`; whether nobody else does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # not every file system has locks
        return False
    return True


def take_over(path: Path) -> int | None:
    """As `hold`, of what another program of this user left; None: it may not be left.

    Raises:
        OSError: It cannot be looked at.
    """
    facts = path.lstat()
    if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < _NEW_S:
        return None
    return hold(path)
