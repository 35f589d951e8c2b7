"""What can go wrong while a network becomes INT8."""

from __future__ import annotations

from derain.core.errors import DerainError


class CalibrationError(DerainError, ValueError):
    """Frames, ranges or a graph cannot give an INT8 graph worth having."""
