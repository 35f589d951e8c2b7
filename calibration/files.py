"""Files that appear whole or not at all, and only where nothing else is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from derain.core.atomic_files import require_writable, write_bytes
from derain.core.errors import CalibrationError


def check_free(path: Path, inputs: Iterable[Path], *, force: bool) -> None:
    """Raise unless `path` may be written.

    Args:
        path: A file to make.
        inputs: Files and folders that are read: neither they nor what is right inside
            them is replaced, `force` or not.
        force: Replace another file.

    Raises:
        CalibrationError: It must not, or is a folder, a device or the like.
    """
    try:
        require_writable(path)
    except OSError as error:
        raise CalibrationError(f"{path} cannot be written: {error.strerror}") from error
    if not os.path.lexists(path):
        return
    if path.exists() and not path.is_file():
        raise CalibrationError(f"{path} is no file, and is not replaced: name another")
    for each in inputs:
        inside = each.is_dir() and each.resolve() == path.resolve().parent
        if inside or (path.exists() and each.exists() and path.samefile(each)):
            raise CalibrationError(
                f"{path} is what is read, and is not replaced: name another"
            )
    if not force:
        raise CalibrationError(f"{path} exists; replace it with --force")


def write_json(path: Path, fields: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        CalibrationError: It cannot be written.
    """
    write_file(path, (json.dumps(fields, indent=1) + "\n").encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        CalibrationError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise CalibrationError(f"{path} cannot be written: {error.strerror}") from error
