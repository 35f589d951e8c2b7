"""An engine that TensorRT or TensorRT-RTX has loaded, and what runs it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.core.sizes import Size, SizeRange
from derain.runtime.cuda.device import Stream
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.engine_record import EngineRecord
from derain.runtime.tensorrt.library import Api

if TYPE_CHECKING:
    import tensorrt as trt

_log = logging.getLogger(__name__)


class TensorRtEngine:
    """One loaded engine with one execution context.

    Args:
        api: The library.
        record: What the engine is.
        plan: The engine.
        kernels: Where TensorRT-RTX, which compiles its kernels when it starts, keeps
            them for the next start; None: nowhere.

    Attributes:
        description: Library and version.
        sizes: Frame sizes it takes.

    Raises:
        EngineError: The plan does not load, or there is too little memory to run it.
    """

    def __init__(
        self,
        api: Api,
        record: EngineRecord,
        plan: bytes,
        kernels: CacheFile | None = None,
    ) -> None:
        self._api = api
        self._file = record.file
        self.description = f"{api.name} {api.version}"
        self.sizes: SizeRange = record.sizes
        self._said = len(api.messages.errors)
        # Freed in reverse order: each needs the one above it.
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._context: trt.IExecutionContext | None = None
        self._cache: Any = None
        self._kernels = kernels
        self._kept = b""
        try:
            self._load(plan, version_compatible=record.version_compatible)
        except BaseException:
            self.close()
            raise

    def set_size(self, size: Size) -> None:
        """Let the next frames be of `size`; nothing that was enqueued is running.

        Raises:
            EngineError: The library refuses it.
        """
        shape = (1, size.height, size.width, 3)
        if not _set_shape(self._usable(), self._input, shape):
            raise self._failure(f"frames of {size}")

    def enqueue(self, source: int, target: int, stream: Stream) -> None:
        """Give `stream` the work of deraining one frame.

        Args:
            source: Device address of the rainy frame, `(1, H, W, 3)` uint8 BGR.
            target: Where the derained frame goes, same shape and dtype.
            stream: Always the same one: frames share the engine's scratch memory.

        Raises:
            EngineError: The library refuses it.
        """
        addresses = {self._input: source, self._output: target}
        if not _start(self._usable(), addresses, stream.handle):
            raise self._failure("running it")

    def can_be_captured(self, stream: Stream) -> bool:
        """Whether `enqueue` may be part of a CUDA graph."""
        return versions.can_be_captured(self._api, self._usable(), stream.handle)

    def keep_kernels(self) -> None:
        """Keep what the library has compiled for the next start, if it is more now.

        What fails is logged.
        """
        if self._kernels is None or self._cache is None:
            return
        try:
            kernels = versions.serialize_kernels(self._cache)
            if kernels and kernels != self._kept:
                self._kernels.save(kernels)
                self._kept = kernels
        except EngineError as error:
            _log.warning("%s: the next start will compile again", error)

    def close(self) -> None:
        """Free it; nothing that was enqueued is running."""
        self.keep_kernels()
        self._context = None
        self._cache = None
        self._engine = None
        self._runtime = None

    def _load(self, plan: bytes, *, version_compatible: bool) -> None:
        # No local variable holds what is loaded: an error that is kept would keep it.
        try:
            self._runtime = versions.create_runtime(
                self._api, version_compatible=version_compatible
            )
        except TypeError as error:  # "factory function returned nullptr"
            raise self._failure("starting the library") from error
        self._engine = _deserialize(self._runtime, plan)
        if self._engine is None:
            raise self._failure("loading it")
        inputs = _tensors(self._engine, self._api.trt.TensorIOMode.INPUT)
        outputs = _tensors(self._engine, self._api.trt.TensorIOMode.OUTPUT)
        frame = self._api.trt.DataType.UINT8
        if [[*inputs.values()], [*outputs.values()]] != [[frame], [frame]]:
            raise EngineError(
                f"{self._file} has tensors {', '.join((*inputs, *outputs))}, wanted "
                "one uint8 frame in and one out; compile it from the bundle with "
                "derain-compile"
            )
        (self._input,), (self._output,) = inputs, outputs
        self._context, self._cache = versions.create_context(
            self._api, self._engine, self._load_kernels()
        )
        if self._context is None:
            raise self._failure("making room to run it")

    def _load_kernels(self) -> bytes:
        if self._kernels is None:
            return b""
        try:
            self._kept = self._kernels.load()
        except EngineError as error:
            _log.warning("%s: ignored", error)
        return self._kept

    def _usable(self) -> trt.IExecutionContext:
        if self._context is None:
            raise EngineError(f"{self._file} is used after it was closed")
        return self._context

    def _failure(self, what: str) -> EngineError:
        """The error for what has just failed, with what the library said."""
        errors = self._api.messages.errors[self._said :]
        self._said += len(errors)
        reasons = "; ".join(errors) or "no reason given"
        return EngineError(f"{self.description}: {self._file}: {what}: {reasons}")


def _deserialize(runtime: trt.Runtime, plan: bytes) -> trt.ICudaEngine | None:
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    return engine


def _tensors(engine: trt.ICudaEngine, mode: trt.TensorIOMode) -> dict[str, object]:
    """Names and types of the tensors that go in, or of those that come out."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return {
        name: engine.get_tensor_dtype(name)
        for name in names
        if engine.get_tensor_mode(name) == mode
    }


def _set_shape(
    context: trt.IExecutionContext, name: str, shape: tuple[int, ...]
) -> bool:
    return bool(context.set_input_shape(name, shape))


def _start(
    context: trt.IExecutionContext, addresses: dict[str, int], stream_handle: int
) -> bool:
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            return False
    return bool(context.execute_async_v3(stream_handle))
