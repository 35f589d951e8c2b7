"""What can go wrong in a benchmark."""

from __future__ import annotations

from derain.core.errors import DerainError


class BenchmarkError(DerainError, RuntimeError):
    """A benchmark cannot be run, or a record of one cannot be read."""


class RowError(BenchmarkError):
    """A row of the table failed; the others go on.

    Attributes:
        detail: The traceback, where the error is not one of ours.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
