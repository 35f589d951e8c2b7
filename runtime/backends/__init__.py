"""Inference backends, by name. Each is imported when it is first opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from derain.core.errors import UnknownNameError
from derain.core.lazy import load

if TYPE_CHECKING:  # the table itself needs no NumPy: ``--help`` lists it
    from derain.core.bundle import Bundle
    from derain.runtime.backends.protocol import Backend

__all__ = ["BACKENDS", "BackendEntry", "open_backend"]


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """Where a backend lives and what it needs.

    Attributes:
        module: Module under `derain.runtime`.
        factory: Callable in it: ``factory(bundle, threads)`` returns a `Backend`.
        extra: The ``derain[...]`` extra that installs its dependencies; empty where the
            plain install has them.
        summary: One line for ``--help``.
        device: What it runs on.
    """

    module: str
    factory: str
    extra: str
    summary: str
    device: Literal["cpu", "gpu"]


BACKENDS = {
    "onnxruntime": BackendEntry(
        "backends.ort",
        "open_cpu",
        "",
        "ONNX Runtime on the processor; runs everywhere",
        device="cpu",
    ),
    "onnxruntime-cuda": BackendEntry(
        "backends.ort",
        "open_cuda",
        "gpu",
        "ONNX Runtime on an NVIDIA GPU",
        device="gpu",
    ),
    "openvino": BackendEntry(
        "backends.openvino",
        "open_openvino",
        "openvino",
        "OpenVINO on the processor; INT8 faster than FP32 on x86",
        device="cpu",
    ),
    "tensorrt": BackendEntry(
        "tensorrt.engine_backend",
        "open_tensorrt",
        "tensorrt",
        "an engine that derain-compile has put into the bundle; for a Jetson",
        device="gpu",
    ),
    "tensorrt-rtx": BackendEntry(
        "tensorrt.engine_backend",
        "open_tensorrt_rtx",
        "tensorrt-rtx",
        "the same with TensorRT-RTX; for GeForce RTX and alike",
        device="gpu",
    ),
}


def open_backend(name: str, bundle: Bundle, threads: int = 0) -> Backend:
    """Load `bundle` with the backend called `name`.

    Args:
        name: A key of `BACKENDS`.
        bundle: The opened bundle.
        threads: Processor threads; 0 takes one per core.

    Raises:
        UnknownNameError: `name` is not in `BACKENDS`.
        MissingDependencyError: The backend's optional package is not installed.
        EngineError: This backend or device cannot run the bundle.
    """
    try:
        entry = BACKENDS[name]
    except KeyError:
        raise UnknownNameError("backend", name, BACKENDS) from None
    factory = load(f"derain.runtime.{entry.module}", entry.factory, entry.extra)
    return cast("Backend", factory(bundle, threads))
