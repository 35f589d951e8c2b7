"""Where clips lie and results go: folders of this machine, and what fsspec opens."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from derain.core.errors import ConfigError, MediaError
from derain.runtime.video.uris import public

_CHUNK = 1 << 20
# What fsspec's file systems raise besides OSError: of the libraries they stand on.
ANY_ERROR = Exception


@dataclass(frozen=True, slots=True)
class Place:
    """A file, a folder or a pattern, as the user wrote it, and what opens it.

    Attributes:
        system: Of fsspec.
        path: In that system.
        is_local: Whether it is a path of this machine, read and written where it is.
            Everything else, ``file://`` too, is copied to work on.
    """

    system: Any
    path: str
    is_local: bool

    @classmethod
    def of(cls, uri: str) -> Place:
        """What `uri` names.

        Raises:
            ConfigError: Nothing opens it.
        """
        try:
            system, path = fsspec.core.url_to_fs(uri)
        except ANY_ERROR as error:  # no such protocol, or its package is missing
            raise ConfigError(f"{public(uri)} cannot be opened: {error}") from error
        return cls(system, path, "://" not in uri)

    def at(self, path: str) -> Place:
        """Another path of the same system."""
        return Place(self.system, path, self.is_local)

    def below(self, name: str) -> Place:
        """The file `name`, a relative path with slashes, below this folder."""
        return self.at(posixpath.join(self.path, name))

    def __str__(self) -> str:
        return self.path if self.is_local else public(self.uri)

    @property
    def uri(self) -> str:
        """As it is written to open it again, in another process too."""
        return self.path if self.is_local else self.system.unstrip_protocol(self.path)

    def size(self) -> int | None:
        """Bytes of the file; None where there is none."""
        try:
            found = self.system.info(self.path)
        except FileNotFoundError:
            return None
        return int(found["size"] or 0) if found["type"] == "file" else None

    def stamp(self) -> str:
        """What changes when the file does, without reading it."""
        if self.is_local:
            found = Path(self.path).stat()
            return f"{found.st_size}-{found.st_mtime_ns}"
        return str(self.system.ukey(self.path))

    def sha256(self) -> str:
        """SHA-256 of the file's content, as hexadecimal text."""
        digest = hashlib.sha256()
        with self.system.open(self.path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def read(self) -> bytes:
        """The file's content."""
        content: bytes = self.system.cat_file(self.path)
        return content

    def write(self, content: bytes) -> None:
        """Make the file, and the folders above it."""
        self._make_parent()
        self.system.pipe_file(self.path, content)

    def remove(self) -> None:
        """Remove the file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.system.rm_file(self.path)

    @contextlib.contextmanager
    def readable(self, scratch: Path) -> Iterator[Path]:
        """The file on this machine, for as long as the block: a copy in `scratch`."""
        if self.is_local:
            yield Path(self.path)
            return
        copy = scratch / posixpath.basename(self.path)
        self.system.get_file(self.path, str(copy))
        try:
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def accept(self, made: Path, part: str) -> None:
        """Move `made`, a file or folder of this machine, here: whole or not at all.

        Args:
            made: What becomes this.
            part: Name beside this for what is on its way there.
        """
        if self.is_local:
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(self.path)
            return
        self._make_parent()
        beside = self.at(posixpath.join(posixpath.dirname(self.path), part))
        try:
            self.system.put_file(str(made), beside.path)
            self.system.mv(beside.path, self.path)
        except BaseException:
            with contextlib.suppress(ANY_ERROR):
                beside.remove()
            raise

    def _make_parent(self) -> None:
        self.system.makedirs(posixpath.dirname(self.path), exist_ok=True)


def matches(place: Place) -> dict[str, Any]:
    """The files that `place` names: itself, those below it, or those of a pattern.

    Returns:
        What the file system says of each, by its path.

    Raises:
        MediaError: The file system fails.
    """
    try:
        if place.system.isdir(place.path):
            return dict(place.system.find(place.path, detail=True))
        if any(sign in place.path for sign in "*?["):
            found = place.system.glob(place.path, detail=True)
            return {p: each for p, each in found.items() if each["type"] == "file"}
        if place.system.isfile(place.path):
            return {place.path: place.system.info(place.path)}
    except ANY_ERROR as error:
        raise MediaError(f"{place} cannot be read: {line(error)}") from error
    return {}


def root_of(place: Place) -> str:
    """The folder that the names of what `place` names are relative to."""
    if place.system.isdir(place.path):
        return place.path
    folders = posixpath.dirname(place.path).split("/")
    for number, folder in enumerate(folders):
        if any(sign in folder for sign in "*?["):
            return "/".join(folders[:number])
    return "/".join(folders)


def line(error: BaseException) -> str:
    """An error on one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
