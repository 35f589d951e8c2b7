"""Bundles on disk appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from derain.core.atomic_files import require_writable
from derain.core.errors import BundleError
from derain.core.manifest import FILE_NAME, Manifest
from derain.core.scratch import ScratchFolder

_NAME_LENGTH = 40  # of the bundle's own name in that of its scratch folder
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux: renameat2(2)
_HERE = -100  # AT_FDCWD


def check_target(folder: Path, *, force: bool) -> None:
    """Raise unless a bundle may be written to `folder`; before any work is done.

    Raises:
        BundleError: Something is there and `force` is off; or it is more than a bundle:
            only what a manifest lists is ever replaced. Or it cannot be written.
    """
    try:
        if not os.path.lexists(folder):
            require_writable(folder)
            return
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if folder.is_dir():
            require_writable(folder)
    except OSError as error:
        raise BundleError(
            f"{folder} cannot be written: {error.strerror}; choose another --output"
        ) from error
    if folder.is_dir() and not names:
        return
    if FILE_NAME not in names:
        raise BundleError(
            f"{folder} exists and is not a bundle; choose another --output"
        )
    if not force:
        raise BundleError(
            f"{folder} exists; replace it with --force, or choose another --output"
        )
    _require_only_a_bundle(folder, names)


def _require_only_a_bundle(folder: Path, names: set[str]) -> None:
    try:
        manifest = Manifest.read(folder)
    except BundleError as error:
        raise BundleError(
            f"{folder} exists and is not a bundle that this derain knows ({error}); "
            "choose another --output"
        ) from error
    engines = {
        engine["file"]
        for engine in manifest.engines
        if isinstance(engine, dict) and isinstance(engine.get("file"), str)
    }
    if others := sorted(names - {FILE_NAME} - manifest.files.keys() - engines):
        some = ", ".join(map(ascii, others[:4]))
        raise BundleError(
            f"{folder} holds more than its bundle: {some}; move that away, or choose "
            "another --output"
        )


@contextlib.contextmanager
def new_bundle(folder: Path, *, force: bool) -> Iterator[Path]:
    """A folder to build in, which becomes `folder` when the block ends well.

    When the block raises, or the program is stopped, what was built is removed and an
    existing bundle stays as it was; what a killed one left goes at the next start.

    Raises:
        BundleError: The place cannot be written, or is taken.
    """
    check_target(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = ScratchFolder(f".{folder.name[:_NAME_LENGTH]}-", folder.parent)
    except OSError as error:
        raise BundleError(
            f"{folder.parent} cannot be written: {error.strerror}; choose another "
            "--output"
        ) from error
    with scratch:
        aside = scratch.path
        try:
            yield aside
            aside.chmod(0o755)  # temporary folders are private
            check_target(folder, force=force)  # hours may have passed
            replace_folder(aside, folder)
        except OSError as error:
            raise BundleError(
                f"{folder} cannot be written: {error.strerror}"
            ) from error


def replace_folder(new: Path, folder: Path) -> None:
    """Move `new` to `folder`; what was there is at `new` then, and may go.

    Raises:
        OSError: It cannot be moved; what was there is there.
    """
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(new, folder):  # in two steps, where the system knows not one
        old = new.with_name(new.name.replace("-", "-old-", 1))
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        old.rename(new)


def _exchange(new: Path, folder: Path) -> bool:
    """Whether `new` and `folder` have changed places, in one step."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = os.fsencode(new), os.fsencode(folder)
    return bool(rename(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)
