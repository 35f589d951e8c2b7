"""An engine that TensorRT or TensorRT-RTX has loaded, and what runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from derain.runtime.cuda.base import Stream
from derain.runtime.engines import EngineRecord
from derain.runtime.errors import EngineError
from derain.runtime.sizes import Size, SizeRange
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.api import Api

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRtEngine:
    """One loaded engine with one execution context.

    Attributes:
        description: Library and version.
        sizes: Frame sizes it takes.

    Raises:
        EngineError: The plan does not load, or there is too little memory to run it.
    """

    def __init__(self, api: Api, record: EngineRecord, plan: bytes) -> None:
        self._api = api
        self._file = record.file
        self.description = f"{api.name} {api.version}"
        self.sizes: SizeRange = record.sizes
        self._said = len(api.messages.errors)
        # Freed in reverse order: each needs the one above it.
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._context: trt.IExecutionContext | None = None
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
        context = self._usable()
        if not context.set_input_shape(self._input, (1, size.height, size.width, 3)):
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
        context = self._usable()
        started = (
            context.set_tensor_address(self._input, source)
            and context.set_tensor_address(self._output, target)
            and context.execute_async_v3(stream.handle)
        )
        if not started:
            raise self._failure("running it")

    def can_be_captured(self, stream: Stream) -> bool:
        """Whether `enqueue` may be part of a CUDA graph."""
        return versions.can_be_captured(self._api, self._usable(), stream.handle)

    def close(self) -> None:
        """Free it; nothing that was enqueued is running."""
        self._context = None
        self._engine = None
        self._runtime = None

    def _load(self, plan: bytes, *, version_compatible: bool) -> None:
        try:
            runtime = versions.create_runtime(
                self._api, version_compatible=version_compatible
            )
        except TypeError as error:  # "factory function returned nullptr"
            raise self._failure("starting the library") from error
        self._runtime = runtime
        engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._failure("loading it")
        self._engine = engine
        modes: Any = self._api.trt.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == modes.INPUT]
        outputs = [n for n in names if engine.get_tensor_mode(n) == modes.OUTPUT]
        byte = self._api.trt.DataType.UINT8
        types = {engine.get_tensor_dtype(name) for name in names}
        if len(inputs) != 1 or len(outputs) != 1 or types != {byte}:
            raise EngineError(
                f"{self._file} has tensors {', '.join(names)}, wanted one uint8 frame "
                "in and one out; compile it from the bundle with derain-compile"
            )
        self._input, self._output = inputs[0], outputs[0]
        self._context = versions.create_context(self._api, engine)
        if self._context is None:
            raise self._failure("making room to run it")

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
