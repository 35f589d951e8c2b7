"""Read files that anybody may have made: what is no file, or far too large, is refused.

A FIFO without a writer is never opened to the end, a device never ends, and a file with
a hole may claim more bytes than there is memory.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_TEXT = 64 * 10**6  # bytes; a manifest that lists every node has some 100 000

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def check_file(path: str | os.PathLike[str], most: int | None = None) -> int:
    """The size of the file `path` in bytes.

    Args:
        path: A link is followed.
        most: Bytes that it may have at most.

    Raises:
        OSError: It is missing, no file, or larger; ``strerror`` says it.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - also of what is no Path
    except ValueError as error:  # a NUL in the name, or what no encoding has
        raise OSError(errno.EINVAL, "no file can have that name") from error
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, wanted a file")
    if most is not None and facts.st_size > most:
        raise OSError(
            errno.EFBIG,
            f"it has {_megabytes(facts.st_size)}, wanted at most {_megabytes(most)}",
        )
    return facts.st_size


def read_bytes(path: Path, most: int) -> bytes:
    """The content of the file `path`.

    Raises:
        OSError: As by `check_file`; or it cannot be read.
    """
    check_file(path, most)
    return path.read_bytes()


def read_text(path: Path, most: int) -> str:
    """The text in the file `path`, of UTF-8.

    Raises:
        OSError: As by `check_file`; or it cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8")


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds.

    Raises:
        OSError: As by `check_file`; or it cannot be read.
        ValueError: It is no JSON of UTF-8, or nested too deeply.
    """
    try:
        return json.loads(read_text(path, MOST_TEXT))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB".replace(",", " ")
