"""Checks on where a sink may write, made before the first frame is derained."""

from __future__ import annotations

import os
from pathlib import Path

from derain.core.errors import MediaError
from derain.runtime.video.frames import SourceInfo
from derain.runtime.video.sink_options import SinkOptions


def check_new_file(path: Path, info: SourceInfo, options: SinkOptions) -> None:
    """Raise unless `path` may be created, or replaced where that was asked for.

    Raises:
        MediaError: It is a file of the source, or no file, or it exists and
            ``options.force`` is not set, or its folder is missing or cannot be written.
    """
    if os.path.lexists(path):
        if path.exists() and any(_same(path, file) for file in info.files):
            raise MediaError(
                f"{path} is a file of the source; name another for the result"
            )
        if path.is_dir():
            raise MediaError(f"{path} is a folder; wanted a file name")
        if path.exists() and not path.is_file():
            raise MediaError(f"{path} is a device or a pipe; wanted a file name")
        if not options.force:
            raise MediaError(f"{path} exists; use --force to replace it")
    check_parent(path)


def check_parent(path: Path) -> None:
    """Raise unless the folder that `path` is to be made in can be written.

    Raises:
        MediaError: It is missing, or cannot be written.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise MediaError(f"{path} cannot be written: no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MediaError(f"{path} cannot be written: folder {folder} is read-only")


def _same(path: Path, file: Path) -> bool:
    return file.exists() and path.samefile(file)
