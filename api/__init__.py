"""Video deraining on edge devices: networks in, proven bundles out, frames derained.

::

    import derain

    bundle = derain.export("qsnet", size="1280x720", precision="fp16")
    derain.compile(bundle)  # on a device with TensorRT
    with derain.load(bundle) as model:
        clean = model(frame)  # (720, 1280, 3) uint8 BGR, as OpenCV gives it
    derain.run(bundle, source="rtsp://camera", sinks="out.mp4")

Nothing is loaded before it is used: exporting needs ``pip install 'derain[export]'``,
what runs on a device needs neither PyTorch nor ONNX. What is wrong raises a
`DerainError` with one line that says what to do; what is going on is logged under
``derain`` (see the standard `logging`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derain.benchmarks.latency.benchmark import benchmark
    from derain.benchmarks.quality.evaluate import evaluate
    from derain.calibration.calibrate import calibrate
    from derain.core.bundle import Bundle
    from derain.core.errors import (
        BenchmarkError,
        BundleError,
        CalibrationError,
        CheckpointError,
        ConfigError,
        DerainError,
        EngineError,
        ExportError,
        MediaError,
        MissingDependencyError,
        NetworkError,
        ShapeError,
        SourceLostError,
        StateError,
        StreamError,
        TrainingError,
        UnknownNameError,
        VerificationError,
    )
    from derain.export.pipeline import export
    from derain.models.registry import models
    from derain.runtime.backends import backends
    from derain.runtime.derainer import Derainer, load
    from derain.runtime.pipeline.run import run
    from derain.runtime.pipeline.run_cameras import run_cameras, watch
    from derain.runtime.session import Session
    from derain.runtime.tensorrt.compile import compile

    __version__: str

__all__ = [
    "BenchmarkError",
    "Bundle",
    "BundleError",
    "CalibrationError",
    "CheckpointError",
    "ConfigError",
    "DerainError",
    "Derainer",
    "EngineError",
    "ExportError",
    "MediaError",
    "MissingDependencyError",
    "NetworkError",
    "Session",
    "ShapeError",
    "SourceLostError",
    "StateError",
    "StreamError",
    "TrainingError",
    "UnknownNameError",
    "VerificationError",
    "__version__",
    "backends",
    "benchmark",
    "calibrate",
    "compile",
    "evaluate",
    "export",
    "load",
    "models",
    "run",
    "run_cameras",
    "watch",
]

# Where each name is defined, and the extra that its module needs.
_HOMES = {
    "Bundle": ("derain.core.bundle", ""),
    "Derainer": ("derain.runtime.derainer", ""),
    "Session": ("derain.runtime.session", ""),
    "backends": ("derain.runtime.backends", ""),
    "benchmark": ("derain.benchmarks.latency.benchmark", "export"),
    "calibrate": ("derain.calibration.calibrate", "export"),
    "compile": ("derain.runtime.tensorrt.compile", ""),
    "evaluate": ("derain.benchmarks.quality.evaluate", "export"),
    "load": ("derain.runtime.derainer", ""),
    "run": ("derain.runtime.pipeline.run", ""),
    "run_cameras": ("derain.runtime.pipeline.run_cameras", ""),
    "watch": ("derain.runtime.pipeline.run_cameras", ""),
}
# Rooms of the house that can be called, see `derain.core.callable_package`.
_PACKAGES = ("export", "models")


def __getattr__(name: str) -> Any:
    try:
        return _found(name)
    except ModuleNotFoundError as error:
        room = (error.name or "").split(".")
        if len(room) == 2 and room[0] == "derain":
            from derain.core.errors import MissingDependencyError

            raise MissingDependencyError(".".join(room), "export") from error
        raise


def _found(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"derain.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("derain")
    from derain.core.lazy import load as load_name

    if name in _HOMES:
        module, extra = _HOMES[name]
    elif name in __all__:  # an error
        module, extra = "derain.core.errors", ""
    else:
        raise AttributeError(f"module 'derain' has no attribute {name!r}")
    value = load_name(module, name, extra)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
