"""The torch-free runtime: a bundle in, derained frames out.

Python users need two names, which ``import derain`` has, too: ``Bundle.open(path)``
and ``Derainer(bundle)``. They are imported from their modules on first use, so that
``import derain.runtime`` loads neither numpy nor OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derain.core.bundle import Bundle
    from derain.runtime.derainer import Derainer

__all__ = ["Bundle", "Derainer"]


def __getattr__(name: str) -> Any:
    if name == "Bundle":
        from derain.core.bundle import Bundle

        return Bundle
    if name == "Derainer":
        from derain.runtime.derainer import Derainer

        return Derainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
