"""What earlier builds measured and earlier runs compiled, kept in files.

One for each device and version of the library. A file is the library's own data after a
line with its SHA-256: a damaged file never reaches native code.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from derain.core.atomic_files import write_bytes
from derain.core.errors import EngineError
from derain.runtime.cuda.device import DeviceFacts

# timing: how fast each kernel was, of TensorRT; kernels: what TensorRT-RTX compiled.
Kind = Literal["timing", "kernels"]


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file that a library's data is kept in.

    Attributes:
        kind: What the data is.
        path: Where it is.
    """

    kind: Kind
    path: Path

    @classmethod
    def default(
        cls, kind: Kind, backend: str, version: str, device: DeviceFacts
    ) -> CacheFile:
        """The file of this device and version, in the user's cache folder."""
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        name = re.sub(r"\W+", "-", device.name).strip("-").lower()
        name += f"-{device.multiprocessors}"
        sm = device.compute_capability.replace(".", "")
        file = f"{backend}-{version}-sm{sm}-{name}.cache"
        return cls(kind, Path(root) / "derain" / kind / file)

    def load(self) -> bytes:
        """The data; none if there is no such file.

        Raises:
            EngineError: The file cannot be read, is damaged or of another kind.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise EngineError(f"{self} cannot be read: {error.strerror}") from error
        head, _, data = content.partition(b"\n")
        if head != self._head(data):
            raise EngineError(f"{self} is damaged, or of another program")
        return data

    def save(self, data: bytes) -> None:
        """Put `data` into the file, whole or not at all.

        Raises:
            EngineError: The place cannot be written.
        """
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, self._head(data) + b"\n" + data)
        except OSError as error:
            raise EngineError(f"{self} cannot be written: {error.strerror}") from error

    def _head(self, data: bytes) -> bytes:
        return f"derain {self.kind} cache {hashlib.sha256(data).hexdigest()}".encode()

    def __str__(self) -> str:
        return f"{self.kind} cache {self.path}"
