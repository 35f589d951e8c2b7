"""Files that appear whole or not at all, whatever ends the program.

What is written goes to a new file beside, of a name that nobody else has, reaches the
disk, and then takes the file's name and its mode. A link of that name is replaced, not
followed. What a program leaves that is killed meanwhile is hidden, is in nobody's way,
and goes with `remove_leftovers` or `remove_abandoned`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from derain.core.errors import ConfigError
from derain.core.holds import hold_open, take_over

_NAME_LENGTH = 40  # of the file's own name in that of the new one; names end at 255
_RANDOM = 8  # hexadecimal digits that make the new one's name nobody else's
_PART = re.compile(rf"\.(.+)-[0-9a-f]{{{_RANDOM}}}\.part")


def _start(path: Path) -> str:
    return f".{path.name[:_NAME_LENGTH]}-"


def random_name() -> str:
    """Part of a file's name that makes it nobody else's."""
    return secrets.token_hex(_RANDOM // 2)


def take_name(part: Path, path: Path, *, replace: bool) -> None:
    """Give the finished file `part` the name and the mode of `path`, in one step.

    Args:
        part: A file in the same folder.
        path: Its name from now on.
        replace: Replace a file of that name; a link itself, not what it leads to.

    Raises:
        FileExistsError: Something is at `path` that is not to be replaced: anything, or
            with `replace`, what is no file, such as a folder or a device.
        OSError: It cannot be renamed.
    """
    _require_file(path)
    if not replace:
        try:
            os.link(part, path)  # unlike a rename, it replaces nothing
        except FileExistsError:
            raise
        except OSError:  # not every file system has links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        else:
            part.unlink()
            return
    if path.is_file() and not path.is_symlink():
        with contextlib.suppress(OSError):  # not every file system has modes
            shutil.copymode(path, part)
    os.replace(part, path)  # noqa: PTH105 - as atomic as the file system makes it


def _require_file(path: Path) -> None:
    if not path.is_symlink() and path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "something that is no file is there")


def require_writable(path: Path) -> None:
    """Raise unless a file or folder could be made at `path`, with folders above it.

    For before the work whose result it is to hold.

    Raises:
        OSError: It could not; ``strerror`` says why.
    """
    folder = path.absolute().parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder")
    # It is tried: for root, and in /proc, permissions say nothing.
    trial = folder / f".derain-{random_name()}.part"
    trial.mkdir()
    trial.rmdir()
    for part in path.absolute().relative_to(folder).parts:
        with contextlib.suppress(FileNotFoundError):
            (folder / part).lstat()  # a name may be too long


def require_free(path: Path, *, force: bool) -> None:
    """Raise unless a file may be written at `path`, before the work that makes it.

    Args:
        path: A file to make.
        force: Whether another file may be replaced.

    Raises:
        ConfigError: Something is there, or it could not be written.
    """
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} exists; replace it with --force")
    try:
        require_writable(path)
        _require_file(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream of bytes that becomes `path` when the block ends well.

    When it does not, nothing is left behind, and what was at `path` stays as it was.

    Raises:
        OSError: The file cannot be written; or something that is no file, such as a
            folder or a device, is at `path`.
    """
    _require_file(path)
    part = path.with_name(f"{_start(path)}{random_name()}.part")
    try:
        with part.open("xb") as file:
            hold_open(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        take_name(part, path, replace=True)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Remove what programs left beside `path` that were killed while they wrote it.

    Nobody else may be writing `path`.
    """
    pattern = f"{glob.escape(_start(path))}{'[0-9a-f]' * _RANDOM}.part"
    for part in path.parent.glob(pattern):
        with contextlib.suppress(OSError):
            part.unlink()


def remove_abandoned(folder: Path, suffixes: Collection[str]) -> None:
    """Remove what killed programs left of files of `suffixes` in `folder`.

    Others may be writing there: what they hold stays (see `derain.core.holds`).
    """
    with contextlib.suppress(OSError):
        for part in folder.iterdir():
            found = _PART.fullmatch(part.name)
            if found is None:
                continue
            is_cut = len(found[1]) == _NAME_LENGTH  # then it has no suffix
            if not is_cut and not found[1].lower().endswith(tuple(suffixes)):
                continue
            with contextlib.suppress(OSError):  # somebody else removed it
                descriptor = take_over(part)
                if descriptor is not None:
                    part.unlink()
                    os.close(descriptor)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path`, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))
