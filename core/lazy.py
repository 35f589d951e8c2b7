"""Import the parts of derain that need an optional package."""

from __future__ import annotations

import importlib
from typing import Any

from derain.core.errors import MissingDependencyError


def load(module: str, attribute: str, extra: str) -> Any:
    """Return `attribute` of `module`, one of ours that needs ``derain[extra]``.

    Raises:
        MissingDependencyError: A package that `extra` would install is missing.
    """
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "derain"):
            raise  # a bug of ours, not a missing extra
        raise MissingDependencyError(package, extra) from error
