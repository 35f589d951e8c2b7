"""ONNX Runtime: the reference backend on the processor, and its CUDA provider."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import platform
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.runtime.backends.ort_batch import OnnxRuntimeBatch
from derain.runtime.backends.ort_memory import BoundMemory, CudaTensor, HostTensor
from derain.runtime.backends.protocol import Memory, StageTimes
from derain.runtime.backends.states import check_names
from derain.runtime.cuda.probe import has_cuda_device

_log = logging.getLogger(__name__)

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
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
        EngineError: This onnxruntime has no CUDA, or there is no GPU.
    """
    _check_cuda()
    if not has_cuda_device():
        raise EngineError("no GPU: the CUDA driver finds none")
    return f"onnxruntime {ort.__version__} with CUDA"


def open_cpu(bundle: Bundle, threads: int = 0) -> OnnxRuntimeBackend:
    """`bundle` on the processor."""
    return OnnxRuntimeBackend(bundle, threads)


def open_cuda(bundle: Bundle, threads: int = 0) -> OnnxRuntimeCudaBackend:
    """`bundle` on an NVIDIA GPU, with ``onnxruntime-gpu``."""
    return OnnxRuntimeCudaBackend(bundle, threads)


class OnnxRuntimeBackend:
    """Runs a bundle's ONNX file on the processor.

    All that a frame needs has a place of its own in a memory, bound to the session
    once: nothing is made or copied for a frame.

    Raises:
        EngineError: The graph does not load.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        options = _options(threads)
        # A pattern is one block for all tensors, beside those of the first run that
        # stay in the arena. Without: as fast, and little more than half the memory
        # (qsnet at 640x360 on two cores, 1.31: 443 MB resident instead of 789).
        options.enable_mem_pattern = False
        self.notes: Sequence[str] = ()
        self._second = (options, _CPU)
        self._take(bundle, _session(bundle.model_path, options, _CPU, {}))
        self.description = _description(_CPU, threads)

    def _take(self, bundle: Bundle, session: Any) -> None:
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._session = session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        names = [[each.name for each in values] for values in (inputs, outputs)]
        check_names(bundle, *names)
        self.times: StageTimes | None = None
        self._running: Any = None  # the options of the run at hand

    def stop(self) -> None:
        """See `StoppableBackend.stop`."""
        if self._running is not None:
            self._running.terminate = True

    def new_memory(self) -> BoundMemory:
        """See `Backend.new_memory`."""
        return BoundMemory(self._session, self._manifest, HostTensor)

    def infer(self, frame: NDArray[np.uint8], memory: Memory) -> NDArray[np.uint8]:
        """See `Backend.infer`."""
        if not isinstance(memory, BoundMemory) or memory.session is not self._session:
            raise EngineError(f"{self.description}: this memory is of another backend")
        clock = [time.perf_counter()]
        try:
            binding, options = memory.load(frame)
            clock.append(time.perf_counter())
            self._running = options
            self._session.run_with_iobinding(binding, options)
            clock.append(time.perf_counter())
            derained, health = memory.results()
        except EngineError:
            raise
        except _ANY_ERROR as error:
            raise EngineError(f"onnxruntime failed: {_line(error)}") from error
        clock.append(time.perf_counter())
        self.times = self._stages(*(np.diff(clock) * 1000))
        memory.end(health)
        return derained

    def open_batch(self) -> OnnxRuntimeBatch:
        """See `BatchingBackend.open_batch`."""
        session = _session(self._bundle.batch_path, *self._second, {})
        return OnnxRuntimeBatch(self._bundle, self._session, session, self.new_memory)

    def _stages(self, load: float, compute: float, results: float) -> StageTimes:
        whole = float(load + compute + results)
        return StageTimes(upload_ms=0.0, compute_ms=whole, download_ms=0.0)

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], memory: Memory
    ) -> Generator[NDArray[np.uint8], None, None]:
        """See `Backend.stream`. ONNX Runtime runs one frame after the other."""
        for frame in frames:
            yield self.infer(frame, memory)

    def close(self) -> None:
        """See `Backend.close`. ONNX Runtime frees a session when it is collected."""
        self._session = None


class OnnxRuntimeCudaBackend(OnnxRuntimeBackend):
    """Runs a bundle's ONNX file on an NVIDIA GPU.

    ``session.run`` would copy through pageable memory and make every tensor anew for
    each frame. In a memory they have a place on the device that stays, for one size at
    a time; a graph of one size is captured as a CUDA graph, or as two where there are
    states, which read one set of them each.

    Raises:
        EngineError: The graph does not load, or the session does not really use CUDA.
            ONNX Runtime lists providers that cannot start, and falls back to the
            processor without a word.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        notes: list[str] = []
        self.notes = notes
        _check_cuda()
        _load_cuda()
        options = _options(threads)
        captures = bundle.manifest.sizes.is_static
        try:
            settings = _cuda_options(captures)
            session = _session(bundle.model_path, options, _CUDA, settings)
        except EngineError as error:
            if not captures:
                raise
            # Such as an operator that it has on the processor alone.
            captures = False
            settings = _cuda_options(captures)
            session = _session(bundle.model_path, options, _CUDA, settings)
            notes.append(f"no CUDA graph, each kernel is started alone: {error}")
        self._graphs = itertools.count() if captures else None
        # No CUDA graphs: it is not always the same buffers that its rows are bound to.
        self._second = (options, _CUDA)
        self._take(bundle, session)
        self.description = _description(_CUDA, threads)

    def new_memory(self) -> BoundMemory:
        """See `Backend.new_memory`."""
        return BoundMemory(self._session, self._manifest, CudaTensor, self._graphs)

    def _stages(self, load: float, compute: float, results: float) -> StageTimes:
        return StageTimes(
            upload_ms=float(load), compute_ms=float(compute), download_ms=float(results)
        )


def _check_cuda() -> None:
    """Raise an `EngineError` if this onnxruntime is the one for the processor."""
    if _CUDA not in ort.get_available_providers():
        if platform.machine() == "aarch64":
            raise EngineError(
                f"this onnxruntime has no {_CUDA}, and there is none to install for "
                "aarch64; on a Jetson run: derain-compile, and take --backend tensorrt"
            )
        raise EngineError(
            f"this onnxruntime has no {_CUDA}; run: pip uninstall -y "
            "onnxruntime onnxruntime-gpu && pip install 'derain[gpu]' "
            "(two onnxruntime packages overwrite each other)"
        )


def _load_cuda() -> None:
    """Load CUDA and cuDNN from their packages, where they are installed with pip."""
    if hasattr(ort, "preload_dlls"):  # since 1.21
        said = io.StringIO()
        with contextlib.redirect_stdout(said):  # it prints what it does not find
            ort.preload_dlls()
        for line in filter(str.strip, said.getvalue().splitlines()):
            _log.debug("%s", line)


def _cuda_options(graphs: bool) -> dict[str, str]:
    return {"enable_cuda_graph": "1"} if graphs else {}


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    return options


def _session(
    model: Path, options: ort.SessionOptions, provider: str, settings: dict[str, str]
) -> ort.InferenceSession:
    path: Path | bytes = model
    try:
        str(path).encode()
    except UnicodeEncodeError:  # a name of another encoding, which ONNX Runtime lacks
        path = model.read_bytes()
    try:
        session = ort.InferenceSession(path, options, providers=[(provider, settings)])
    except _ANY_ERROR as error:
        raise EngineError(f"{model} does not load: {_line(error)}") from error
    used = session.get_providers()[0]
    if used != provider:
        raise EngineError(
            f"onnxruntime runs on {used}, wanted {provider}: is there a GPU, and "
            "do the CUDA and cuDNN versions fit this onnxruntime-gpu?"
        )
    return session


def _description(provider: str, threads: int) -> str:
    text = f"onnxruntime {ort.__version__}, {provider}"
    if threads:
        text += f", {threads} thread{'s' if threads > 1 else ''}"
    return text


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
