"""What earlier builds measured, kept in a file for each device and TensorRT version.

The file is TensorRT's own data after a line with its SHA-256: a damaged file never
reaches native code.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from derain.core.errors import EngineError
from derain.runtime.cuda.device import DeviceFacts

_MAGIC = b"derain timing cache "


def default_file(backend: str, version: str, device: DeviceFacts) -> Path:
    """The cache of this device and version, in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = re.sub(r"\W+", "-", device.name).strip("-").lower()
    sm = device.compute_capability.replace(".", "")
    return Path(root) / "derain" / "timing" / f"{backend}-{version}-sm{sm}-{name}.cache"


def load(file: Path) -> bytes:
    """The data in `file`; none if there is no such file.

    Raises:
        EngineError: The file cannot be read, is damaged or of another kind.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise EngineError(
            f"timing cache {file} cannot be read: {error.strerror}"
        ) from error
    head, _, data = content.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(data).hexdigest().encode():
        raise EngineError(f"timing cache {file} is damaged, or of another program")
    return data


def save(file: Path, data: bytes) -> None:
    """Put `data` into `file`, whole or not at all.

    Raises:
        EngineError: The place cannot be written.
    """
    head = _MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(head + data)
            Path(aside).replace(file)
        except BaseException:
            Path(aside).unlink()
            raise
    except OSError as error:
        raise EngineError(
            f"timing cache {file} cannot be written: {error.strerror}"
        ) from error
