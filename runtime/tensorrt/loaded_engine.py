"""An engine that TensorRT or TensorRT-RTX has loaded, and what runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.core.sizes import Size, SizeRange
from derain.runtime.cuda.device import Stream
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.engine_record import EngineRecord
from derain.runtime.tensorrt.engine_states import (
    DERAINED,
    FRAME,
    HEALTH,
    Shape,
    has_health,
    shape_of_frame,
)
from derain.runtime.tensorrt.library import Api
from derain.runtime.tensorrt.network_definition import data_type

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

        padded: At which size its network sees frames of a size; see `Manifest.padded`.

    Attributes:
        description: Library and version.
        sizes: Frame sizes it takes.
        states: What it remembers between frames.
        has_health: Whether it says if its states are finite.

    Raises:
        EngineError: The plan does not load, or there is too little memory to run it.
    """

    def __init__(
        self,
        api: Api,
        record: EngineRecord,
        plan: bytes,
        kernels: CacheFile | None = None,
        padded: Callable[[Size], Size] = lambda size: size,
    ) -> None:
        self._api = api
        self._file = record.file
        self.description = f"{api.name} {api.version}"
        self.sizes: SizeRange = record.sizes
        self.states = record.states
        self.has_health = has_health(record.states)
        self._padded = padded
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

    def state_shapes(self, size: Size) -> list[Shape]:
        """Shapes of the states for frames of `size`.

        Raises:
            EngineError: A length does not come out whole.
        """
        padded = self._padded(size)
        try:
            return [state.shape_for(size, padded) for state in self.states]
        except ValueError as error:
            raise EngineError(f"{self._file}: frames of {size}: {error}") from error

    def set_size(self, size: Size) -> None:
        """Let the next frames be of `size`; nothing that was enqueued is running.

        Raises:
            EngineError: The library refuses it.
        """
        shapes = {FRAME: shape_of_frame(size)}
        for state, shape in zip(self.states, self.state_shapes(size), strict=True):
            shapes[state.input] = shape
        for name, shape in shapes.items():
            if not _set_shape(self._usable(), name, shape):
                raise self._failure(f"frames of {size}")

    def enqueue(self, addresses: Mapping[str, int], stream: Stream) -> None:
        """Give `stream` the work of deraining one frame.

        Args:
            addresses: On the device, by name: of the rainy frame, `(1, H, W, 3)` uint8
                BGR, of the derained one, of every state's input and output, and of the
                health, float32, where it `has_health`.
            stream: Always the same one: frames share the engine's scratch memory.

        Raises:
            EngineError: The library refuses it.
        """
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
        self._check(inputs, outputs)
        self._context, self._cache = versions.create_context(
            self._api, self._engine, self._load_kernels()
        )
        if self._context is None:
            raise self._failure("making room to run it")

    def _check(
        self, inputs: Mapping[str, object], outputs: Mapping[str, object]
    ) -> None:
        """Raise unless the tensors of the engine are those of the record."""
        frame = data_type(self._api, "uint8")
        wanted = {FRAME: frame}, {DERAINED: frame}
        for state in self.states:
            for side, name in zip(wanted, (state.input, state.output), strict=True):
                side[name] = data_type(self._api, state.dtype)
        if self.has_health:
            wanted[1][HEALTH] = data_type(self._api, "float32")
        if (inputs, outputs) == wanted:
            return
        states = ", ".join(state.name for state in self.states)
        got = ", ".join((*inputs, *outputs))
        if {*inputs, *outputs} == {FRAME, DERAINED} and states:
            got += f": it was compiled without states {states}"
        raise EngineError(
            f"{self._file} has tensors {got}; wanted one uint8 frame in and one out"
            f"{states and ', and each state in and out'}; compile it from the bundle "
            "with derain-compile"
        )

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
    context: trt.IExecutionContext, addresses: Mapping[str, int], stream_handle: int
) -> bool:
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            return False
    return bool(context.execute_async_v3(stream_handle))
