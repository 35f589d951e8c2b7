"""Bundles on disk appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from derain.core.errors import BundleError
from derain.core.manifest import FILE_NAME


def check_target(folder: Path, *, force: bool) -> None:
    """Raise unless a bundle may be written to `folder`; before any work is done.

    Raises:
        BundleError: Something is there and `force` is off, or it is no bundle: a folder
            of another kind is never replaced.
    """
    if not (folder.exists() or folder.is_symlink()):
        return
    empty = folder.is_dir() and not any(folder.iterdir())
    if empty:
        return
    if not (folder.is_dir() and (folder / FILE_NAME).is_file()):
        raise BundleError(
            f"{folder} exists and is not a bundle; choose another --output"
        )
    if not force:
        raise BundleError(
            f"{folder} exists; replace it with --force, or choose another --output"
        )


@contextlib.contextmanager
def new_bundle(folder: Path, *, force: bool) -> Iterator[Path]:
    """A folder to build in, which becomes `folder` when the block ends well.

    When the block raises, or the program is stopped, what was built is removed and an
    existing bundle stays as it was.

    Raises:
        BundleError: The place cannot be written, or is taken.
    """
    check_target(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise BundleError(
            f"{folder.parent} cannot be written: {error.strerror}; choose another "
            "--output"
        ) from error
    try:
        yield aside
        aside.chmod(0o755)  # mkdtemp's folders are private
        _replace(aside, folder)
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _replace(new: Path, folder: Path) -> None:
    """Move `new` to `folder`; a bundle that was there goes last."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.with_name(f".{folder.name}-old-{os.getpid()}")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
