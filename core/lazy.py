"""Import the parts of derain that need an optional package."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from derain.core.errors import (
    BrokenDependencyError,
    DerainError,
    MissingDependencyError,
)
from derain.core.reported import broken_package


@contextmanager
def requires(extra: str) -> Iterator[None]:
    """Say what to install where an import in the block fails for want of a package.

    The import stays an import, which type checkers follow::

        with requires("export"):
            from derain.export.pipeline import export_bundle

    Args:
        extra: The ``derain[extra]`` that installs what the imports need; empty where
            the plain install has it.

    Raises:
        MissingDependencyError: A package that `extra` would install is missing.
        BrokenDependencyError: It is there, but does not load.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "derain"):
            raise  # a bug of ours, not a missing extra
        raise MissingDependencyError(package, extra) from error
    # Of any type: ctypes raises OSError where a shared library is missing, matplotlib
    # ValueError where its configuration is broken.
    except Exception as error:
        text = None if isinstance(error, DerainError) else broken_package(error)
        if text is None:
            raise
        raise BrokenDependencyError(text) from error


def load(module: str, attribute: str, extra: str) -> Any:
    """What a table's row names: `attribute` of `module`, which needs ``derain[extra]``.

    Where the module is known when the code is written, `requires` and an import say the
    same and keep the types.

    Raises:
        MissingDependencyError: A package that `extra` would install is missing.
    """
    with requires(extra):
        return getattr(importlib.import_module(module), attribute)
