"""A file that a full disk, a power cut or a kill leaves playable, under another name.

``out.mp4`` is ``out.partial-0a1b2c3d.mp4`` while it is written, a name that nobody else
has. When it is whole, it takes its own name. When its run was stopped, it is
``out.partial.mp4``; where that is taken, it keeps the name it has.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from derain.core.atomic_files import random_name, take_name
from derain.core.errors import MediaError
from derain.runtime.video.sources.integrity import iso_boxes

_STEM = 55  # characters of the name, of up to four bytes each; names end at 255 bytes


class SafeFile:
    """A new file that FFmpeg writes through; it takes nothing after the first failure.

    FFmpeg itself would go on, write an index over a file that lacks data, and ruin what
    was finished.

    Attributes:
        path: Where it is now.
        error: The first failure of a write, or None.
    """

    def __init__(self, path: Path) -> None:
        """Create a file that can become `path`.

        Raises:
            MediaError: It cannot be created.
        """
        self.error: OSError | None = None
        self.path = path.with_name(
            f"{path.stem[:_STEM]}.partial-{random_name()}{path.suffix}"
        )
        self._wanted = path
        try:
            self._file = self.path.open("xb", buffering=0)
        except OSError as error:
            raise MediaError(f"{path} cannot be created: {error.strerror}") from error

    def write(self, data: bytes) -> int:
        """Write all of `data` and return how much that is, or minus the error number.

        That is how FFmpeg's own files report errors; PyAV would print a traceback for
        each exception but the first.
        """
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.error = error
        return self._failure() or len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` and return it, or minus the error number."""
        return self._failure() or self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next write goes."""
        return self._file.tell()

    def refuse(self) -> None:
        """Take nothing more."""
        self.error = self.error or OSError(errno.ECANCELED, "given up")

    def close(self) -> None:
        """Close the file. Calling it twice is harmless."""
        self._file.close()

    def complete(self, *, replace: bool) -> None:
        """Close the file, which is whole, and give it the name that was wanted.

        Raises:
            OSError: It cannot have that name, or does not reach the disk.
        """
        os.fsync(self._file.fileno())
        self._file.close()
        take_name(self.path, self._wanted, replace=replace)
        self.path = self._wanted

    def keep_partial(self) -> None:
        """Close the file, which is not whole, and give it a name that says so."""
        self._file.close()
        wanted = self._wanted
        partial = wanted.with_name(f"{wanted.stem[:_STEM]}.partial{wanted.suffix}")
        with contextlib.suppress(OSError):  # the name it has is good enough
            take_name(self.path, partial, replace=False)
            self.path = partial

    def _failure(self) -> int:
        return 0 if self.error is None else -(self.error.errno or errno.EIO)


def cut_to_whole_fragments(path: Path) -> None:
    """Cut the unfinished end off a fragmented MP4; remove it if nothing is left.

    It only ever gets shorter, so a full disk is no obstacle.
    """
    good = 0
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        for kind, end in iso_boxes(file):
            if kind == b"mdat" and end <= length:
                good = end
        file.truncate(good)
    if not good:
        path.unlink()
