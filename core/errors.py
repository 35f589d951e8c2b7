"""Errors the toolkit raises on purpose.

Each one derives from `DerainError` and from the built-in a caller would expect,
so ``except DerainError`` catches all of ours and ``except ValueError`` still works.
A message says what, got, wanted and what to do, on one line.

    DerainError
    ├── UnknownNameError(LookupError)         no such model, backend, source or sink
    ├── MissingDependencyError(ImportError)   an optional package is not installed
    ├── BrokenDependencyError(ImportError)    a package is installed but does not load
    ├── NetworkError(ValueError)              a network does not map frame to frame
    ├── CheckpointError(ValueError)           weights do not fit their network
    ├── ExportError(RuntimeError)             a network cannot become an ONNX graph
    ├── VerificationError(ExportError)        the exported graph differs from PyTorch
    ├── BundleError(ValueError)               not a bundle, or damaged, or too new
    ├── ShapeError(ValueError)                an array has the wrong shape or dtype
    ├── EngineError(RuntimeError)             a backend could not load or run a bundle
    │   └── StateError                        a state is not finite; it was reset
    ├── MediaError(OSError)                   a picture or video fails
    ├── SourceLostError(MediaError)           a live source stopped; it may come back
    ├── ConfigError(ValueError)               an option or a configuration file is wrong
    ├── StreamError(RuntimeError)             a run stops part-way; the rest is kept
    ├── CalibrationError(ValueError)          a network cannot, or must not, be INT8
    ├── TrainingError(RuntimeError)           a training run cannot go on
    └── BenchmarkError(RuntimeError)          a benchmark or its record fails
        └── CandidateError                    one candidate fails; the others go on
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class DerainError(Exception):
    """Base of every error raised by derain itself."""


class UnknownNameError(DerainError, LookupError):
    """A name is not in a table; the message lists the names that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = ", ".join(sorted(known))
        super().__init__(f"unknown {kind} {name!r}; choose from {choices}")


class MissingDependencyError(DerainError, ImportError):
    """An optional package is missing; the message says how to install it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; run: pip install 'derain[{extra}]'"
        )


class BrokenDependencyError(DerainError, ImportError):
    """A package is installed but does not load; the message says what to reinstall."""


class NetworkError(DerainError, ValueError):
    """A network cannot be built, or does not map frames to frames of the same size."""


class CheckpointError(DerainError, ValueError):
    """A checkpoint cannot be read, or its tensors do not match the network's."""


class ExportError(DerainError, RuntimeError):
    """A network cannot be turned into an ONNX graph."""


class VerificationError(ExportError):
    """An exported graph is further from PyTorch than its tolerance."""


class BundleError(DerainError, ValueError):
    """A folder is not a bundle, is damaged, or was written by a newer version."""


class ShapeError(DerainError, ValueError):
    """An array's shape or dtype differs from what its consumer declared."""


class EngineError(DerainError, RuntimeError):
    """A backend could not load or run a bundle."""


class StateError(EngineError):
    """What a network remembers became NaN or infinite, and was reset.

    The picture that came with it is not to be used.
    """


class MediaError(DerainError, OSError):
    """A picture, folder or video cannot be read or written."""


class SourceLostError(MediaError):
    """A live source lost its connection, or sent nothing for some seconds."""


class ConfigError(DerainError, ValueError):
    """An option, or a file with options, cannot be followed."""


class StreamError(DerainError, RuntimeError):
    """A run stopped part-way; the message says why, and where the result so far is.

    Attributes:
        report: What was done until then, where that is known: a
            `derain.runtime.pipeline.report.Report`.
    """

    report: Any = None


class CalibrationError(DerainError, ValueError):
    """Frames, ranges or a graph cannot give an INT8 graph worth having."""


class TrainingError(DerainError, RuntimeError):
    """A training run diverged, or a run in a queue failed."""


class BenchmarkError(DerainError, RuntimeError):
    """A benchmark cannot be run, or a record of one cannot be read."""


class CandidateError(BenchmarkError):
    """A row of the table failed; the others go on.

    Attributes:
        detail: The traceback, where the error is not one of ours.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
