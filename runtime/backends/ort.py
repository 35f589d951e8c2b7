"""ONNX Runtime: the reference backend on the processor, and its CUDA provider."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from typing import cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.runtime.backends.protocol import StageTimes

_ERRORS_ONLY = 3  # severity: warnings about CPU fall-backs are ours to report

# What says that a session was refused is a C++ exception, for which the bindings have
# no common base class.
_ANY_ERROR = Exception


def check_cpu() -> str:
    """Why ONNX Runtime works here."""
    return f"onnxruntime {ort.__version__}"


def check_cuda() -> str:
    """Why ONNX Runtime may use a GPU; whether it really does, a session shows.

    Raises:
        EngineError: This onnxruntime has no CUDA.
    """
    _check_provider("CUDAExecutionProvider")
    return f"onnxruntime {ort.__version__} with CUDA"


def open_cpu(bundle: Bundle, threads: int = 0) -> OnnxRuntimeBackend:
    """`bundle` on the processor."""
    return OnnxRuntimeBackend(bundle, "CPUExecutionProvider", threads)


def open_cuda(bundle: Bundle, threads: int = 0) -> OnnxRuntimeBackend:
    """`bundle` on an NVIDIA GPU, with ``onnxruntime-gpu``."""
    return OnnxRuntimeBackend(bundle, "CUDAExecutionProvider", threads)


class OnnxRuntimeBackend:
    """Runs a bundle's ONNX file with one of ONNX Runtime's execution providers.

    Raises:
        EngineError: The graph does not load, or the session does not really use
            `provider`. ONNX Runtime lists providers that cannot start, and falls back
            to the processor without a word.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, provider: str, threads: int = 0) -> None:
        _check_provider(provider)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERRORS_ONLY
        if provider == "CPUExecutionProvider":
            # A pattern is one block for all tensors, beside those of the first run that
            # stay in the arena. Without: as fast, and little more than half the memory
            # (qsnet at 640x360 on two cores, 1.31: 443 MB resident instead of 789).
            options.enable_mem_pattern = False
        try:
            self._session = ort.InferenceSession(
                bundle.model_path, options, providers=[provider]
            )
        except _ANY_ERROR as error:
            raise EngineError(
                f"{bundle.model_path} does not load: {_line(error)}"
            ) from error
        used = self._session.get_providers()[0]
        if used != provider:
            raise EngineError(
                f"onnxruntime runs on {used}, wanted {provider}: is there a GPU, and "
                "do the CUDA and cuDNN versions fit this onnxruntime-gpu?"
            )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [self._session.get_outputs()[0].name]
        self.times: StageTimes | None = None
        # What the CUDA provider copies is part of its run.
        self._copy_ms = 0.0 if used == "CPUExecutionProvider" else None
        self.description = f"onnxruntime {ort.__version__}, {used}"
        if threads:
            self.description += f", {threads} thread{'s' if threads > 1 else ''}"

    def infer(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Backend.infer`."""
        started = time.perf_counter()
        try:
            (derained,) = self._session.run(self._outputs, {self._input: frame})
        except _ANY_ERROR as error:
            raise EngineError(f"onnxruntime failed: {_line(error)}") from error
        self.times = StageTimes(
            upload_ms=self._copy_ms,
            compute_ms=(time.perf_counter() - started) * 1000,
            download_ms=self._copy_ms,
        )
        return cast(NDArray[np.uint8], derained)

    def stream(
        self, frames: Iterable[NDArray[np.uint8]]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """See `Backend.stream`. ONNX Runtime runs one frame after the other."""
        for frame in frames:
            yield self.infer(frame)

    def close(self) -> None:
        """See `Backend.close`. ONNX Runtime frees a session when it is collected."""
        self.__dict__.pop("_session", None)


def _check_provider(provider: str) -> None:
    if provider not in ort.get_available_providers():
        raise EngineError(
            f"this onnxruntime has no {provider}; run: pip uninstall -y "
            "onnxruntime onnxruntime-gpu && pip install 'derain[gpu]' "
            "(two onnxruntime packages overwrite each other)"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
