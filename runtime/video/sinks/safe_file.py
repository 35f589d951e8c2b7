"""A file that a full disk or a power cut leaves playable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from derain.core.errors import MediaError
from derain.runtime.video.sources.integrity import iso_boxes


class SafeFile:
    """A new file that FFmpeg writes through; it takes nothing after the first failure.

    FFmpeg itself would go on, write an index over a file that lacks data, and ruin what
    was finished.

    Attributes:
        error: The first failure of a write, or None.
    """

    def __init__(self, path: Path, *, replace: bool) -> None:
        """Create `path`, or empty it where `replace` is set.

        Raises:
            MediaError: It cannot be created, or exists and `replace` is not set.
        """
        self.error: OSError | None = None
        try:
            self._file = path.open("wb" if replace else "xb", buffering=0)
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
