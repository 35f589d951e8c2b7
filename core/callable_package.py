"""Packages that are functions, too: ``derain.export`` and ``derain.models``.

The front door's names are verbs and nouns that users expect, and two of them are rooms
of the house. Python binds a package to its parent's attribute whenever any of its
modules is imported, so a function of the same name would be there or not depending on
what was imported before. A package that can be called is always the same object.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from derain.core.lazy import requires


def make_callable(package: str, module: str, function: str, extra: str = "") -> None:
    """Let ``package(...)`` call `function` of `module`, imported when it is called.

    Args:
        package: Name of the package, which is being imported.
        module: Where the function is.
        function: Its name.
        extra: The ``derain[extra]`` that `module` needs.
    """

    def home() -> Callable[..., Any]:
        with requires(extra):
            found: Callable[..., Any] = getattr(
                importlib.import_module(module), function
            )
        return found

    class Package(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return home()(*arguments, **options)

        @property
        def __signature__(self) -> inspect.Signature:
            return inspect.signature(home())

    sys.modules[package].__class__ = Package
