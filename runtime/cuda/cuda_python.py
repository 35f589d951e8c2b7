"""CUDA through ``cuda.bindings``, NVIDIA's own package; needs 12.9.1 or newer.

A wheel for x86-64 and aarch64 that can be imported where there is no GPU. Older ones
hold the interpreter's lock while they wait for the device.

Where device and processor share memory and power, as on a Jetson, the processor sleeps
while it waits (``cudaDeviceScheduleBlockingSync``): its cores decode and encode video.
Elsewhere CUDA chooses, which spins where there are enough cores.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from cuda.bindings.utils import get_cuda_native_handle
from numpy.typing import NDArray

from derain.core.errors import EngineError
from derain.runtime.cuda.device import DeviceMemory, Event, HostMemory, Stream
from derain.runtime.cuda.probe import ask_bindings


def call(name: str, *arguments: object) -> Any:
    """Call a function of the CUDA runtime and return its result, if it has one.

    Raises:
        EngineError: It failed.
    """
    status, *values = getattr(cudart, name)(*arguments)
    if status != cudart.cudaError_t.cudaSuccess:
        # CUDA keeps it for whoever asks next: TensorRT would take it for its own.
        cudart.cudaGetLastError()
        _, error = cudart.cudaGetErrorName(status)
        _, text = cudart.cudaGetErrorString(status)
        raise EngineError(f"{name}: {error.decode()}: {text.decode()}")
    return values[0] if values else None


class _Resource:
    """Something that CUDA gave out, under a number."""

    def __init__(self, destroy: str, given: object) -> None:
        self._destroy = destroy
        self._handle: int | None = (
            given if isinstance(given, int) else get_cuda_native_handle(given)
        )

    @property
    def handle(self) -> int:
        """The number.

        Raises:
            EngineError: It is closed.
        """
        if self._handle is None:
            raise EngineError(f"{type(self).__name__} is used after it was closed")
        return self._handle

    def close(self) -> None:
        """Give it back."""
        handle, self._handle = self._handle, None
        if handle is not None:
            call(self._destroy, handle)


class CudaDeviceMemory(_Resource):
    """See `DeviceMemory`."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__("cudaFree", call("cudaMalloc", size_bytes))

    @property
    def address(self) -> int:
        """See `DeviceMemory`."""
        return self.handle


class CudaHostMemory(_Resource):
    """See `HostMemory`."""

    def __init__(self, size_bytes: int) -> None:
        start: int = call("cudaHostAlloc", size_bytes, cudart.cudaHostAllocMapped)
        super().__init__("cudaFreeHost", start)
        try:
            self.address: int = call("cudaHostGetDevicePointer", start, 0)
        except BaseException:
            self.close()
            raise
        memory = (ctypes.c_uint8 * size_bytes).from_address(start)
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)

    def close(self) -> None:
        """See `HostMemory.close`."""
        self.array = np.empty(0, np.uint8)
        super().close()


class CudaStream(_Resource):
    """See `Stream`."""

    def __init__(self) -> None:
        flags = cudart.cudaStreamNonBlocking
        stream = call("cudaStreamCreateWithFlags", flags)
        super().__init__("cudaStreamDestroy", stream)

    def wait(self, event: Event) -> None:
        """See `Stream.wait`."""
        call("cudaStreamWaitEvent", self.handle, _handle(event), 0)

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        call("cudaStreamSynchronize", self.handle)


class CudaEvent(_Resource):
    """See `Event`."""

    def __init__(self, *, sleeps: bool) -> None:
        flags = cudart.cudaEventBlockingSync if sleeps else cudart.cudaEventDefault
        super().__init__("cudaEventDestroy", call("cudaEventCreateWithFlags", flags))

    def record(self, stream: Stream, *, in_graph: bool = False) -> None:
        """See `Event.record`."""
        if in_graph:  # without the flag it would only order the capture
            flags = cudart.cudaEventRecordExternal
            call("cudaEventRecordWithFlags", self.handle, stream.handle, flags)
        else:
            call("cudaEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        call("cudaEventSynchronize", self.handle)


class CudaGraph(_Resource):
    """See `Graph`."""

    def __init__(self, graph: object) -> None:
        super().__init__("cudaGraphExecDestroy", call("cudaGraphInstantiate", graph, 0))

    def launch(self, stream: Stream) -> None:
        """See `Graph.launch`."""
        call("cudaGraphLaunch", self.handle, stream.handle)


class CudaPythonDevice:
    """See `Device`. It uses the primary context, as TensorRT and PyTorch do.

    Raises:
        EngineError: There is no such device, or it cannot be used.
    """

    has_graphs = True

    def __init__(self, number: int = 0) -> None:
        self.facts = ask_bindings(number)
        self._sleeps = self.facts.integrated
        waits = "waits asleep" if self._sleeps else "waits as CUDA chooses"
        self.description = f"cuda-bindings {version('cuda-bindings')}, {waits}"
        call("cudaSetDevice", number)
        if self._sleeps:
            call("cudaSetDeviceFlags", cudart.cudaDeviceScheduleBlockingSync)

    def host_memory(self, size_bytes: int) -> CudaHostMemory:
        """See `Device.host_memory`."""
        return CudaHostMemory(size_bytes)

    def device_memory(self, size_bytes: int) -> CudaDeviceMemory:
        """See `Device.device_memory`."""
        return CudaDeviceMemory(size_bytes)

    def stream(self) -> CudaStream:
        """See `Device.stream`."""
        return CudaStream()

    def event(self) -> CudaEvent:
        """See `Device.event`."""
        return CudaEvent(sleeps=self._sleeps)

    def upload(
        self,
        target: DeviceMemory,
        source: HostMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """See `Device.upload`."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        start = _handle(source)
        call("cudaMemcpyAsync", target.address, start, size_bytes, kind, stream.handle)

    def download(
        self,
        target: HostMemory,
        source: DeviceMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """See `Device.download`."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        start = _handle(target)
        call("cudaMemcpyAsync", start, source.address, size_bytes, kind, stream.handle)

    def copy(
        self,
        target: DeviceMemory,
        source: DeviceMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """See `Device.copy`."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        start = source.address
        call("cudaMemcpyAsync", target.address, start, size_bytes, kind, stream.handle)

    def clear(self, target: DeviceMemory, size_bytes: int, stream: Stream) -> None:
        """See `Device.clear`."""
        call("cudaMemsetAsync", target.address, 0, size_bytes, stream.handle)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """See `Device.elapsed_ms`."""
        return float(call("cudaEventElapsedTime", _handle(start), _handle(end)))

    def capture(self, stream: Stream, work: Callable[[], None]) -> CudaGraph:
        """See `Device.capture`."""
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.handle, mode)
        try:
            work()
        except BaseException:
            # What went wrong is on its way up: that the capture is broken is no news.
            with contextlib.suppress(EngineError):
                _destroy(call("cudaStreamEndCapture", stream.handle))
            raise
        graph = call("cudaStreamEndCapture", stream.handle)
        try:
            return CudaGraph(graph)
        finally:
            _destroy(graph)

    def close(self) -> None:
        """See `Device.close`. The primary context may be in use by others."""


def _destroy(graph: object) -> None:
    call("cudaGraphDestroy", graph)


def _handle(resource: Event | HostMemory) -> int:
    """The number of what this module made; other packages' are of no use to it."""
    if not isinstance(resource, _Resource):
        raise TypeError(f"{resource!r} is not of {__name__}")
    return resource.handle
