"""CUDA through PyCUDA, for those whose Jetson has it.

Written from the source of PyCUDA 2025.1 and **not run yet**: it has to be compiled on a
machine with CUDA. It has no CUDA graphs.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import EngineError
from derain.runtime.cuda.device import (
    DeviceFacts,
    DeviceMemory,
    Event,
    HostMemory,
    Stream,
)

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING has no name in PyCUDA


class PycudaDevice:
    """See `Device`.

    A context that is current when it is opened is used, and left as it is. Where there
    is none, the primary one is made current until `close`.

    Raises:
        EngineError: There is no such device, or it cannot be used.
    """

    has_graphs = False

    def __init__(self, number: int = 0) -> None:
        try:
            self._drv: Any = importlib.import_module("pycuda.driver")
        except ImportError as error:  # libcuda.so.1, which comes with the driver
            reason = " ".join(str(error).split())
            raise EngineError(f"no GPU: pycuda does not load: {reason}") from error
        with self._checked("cuInit", prefix="no GPU: "):
            self._drv.init()
            count = self._drv.Device.count()
        if number >= count:
            raise EngineError(
                f"no GPU: CUDA finds {count} devices, wanted number {number}"
            )
        self._primary: Any = None
        with self._checked("cuDevicePrimaryCtxRetain"):
            if self._drv.Context.get_current() is None:
                self._primary = self._drv.Device(number).retain_primary_context()
                self._primary.push()
        try:
            with self._checked("cuDeviceGetAttribute"):
                self.facts = self._ask()
        except BaseException:
            self.close()
            raise
        package = importlib.import_module("pycuda")
        self.description = f"pycuda {package.VERSION_TEXT}, waits as CUDA chooses"

    def host_memory(self, size_bytes: int) -> PycudaHostMemory:
        """See `Device.host_memory`."""
        with self._checked("cuMemHostAlloc"):
            return PycudaHostMemory(self._drv, size_bytes)

    def device_memory(self, size_bytes: int) -> PycudaDeviceMemory:
        """See `Device.device_memory`."""
        with self._checked("cuMemAlloc"):
            return PycudaDeviceMemory(self._drv.mem_alloc(size_bytes))

    def stream(self) -> PycudaStream:
        """See `Device.stream`."""
        with self._checked("cuStreamCreate"):
            return PycudaStream(self, self._drv.Stream(_NON_BLOCKING))

    def event(self) -> PycudaEvent:
        """See `Device.event`."""
        with self._checked("cuEventCreate"):
            return PycudaEvent(self, self._drv.Event())

    def upload(
        self,
        target: DeviceMemory,
        source: HostMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """See `Device.upload`."""
        with self._checked("cuMemcpyHtoDAsync"):
            self._drv.memcpy_htod_async(
                target.address, source.array[:size_bytes], unwrap(stream)
            )

    def download(
        self,
        target: HostMemory,
        source: DeviceMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """See `Device.download`."""
        with self._checked("cuMemcpyDtoHAsync"):
            self._drv.memcpy_dtoh_async(
                target.array[:size_bytes], source.address, unwrap(stream)
            )

    def copy(
        self,
        target: DeviceMemory,
        source: DeviceMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """See `Device.copy`."""
        with self._checked("cuMemcpyDtoDAsync"):
            self._drv.memcpy_dtod_async(
                target.address, source.address, size_bytes, unwrap(stream)
            )

    def clear(self, target: DeviceMemory, size_bytes: int, stream: Stream) -> None:
        """See `Device.clear`."""
        with self._checked("cuMemsetD8Async"):
            self._drv.memset_d8_async(target.address, 0, size_bytes, unwrap(stream))

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """See `Device.elapsed_ms`."""
        with self._checked("cuEventElapsedTime"):
            return float(unwrap(start).time_till(unwrap(end)))

    def capture(self, stream: Stream, work: Callable[[], None]) -> NoReturn:
        """See `Device.capture`.

        Raises:
            EngineError: Always.
        """
        raise EngineError("pycuda has no CUDA graphs")

    def close(self) -> None:
        """See `Device.close`."""
        primary, self._primary = self._primary, None
        if primary is not None:
            with self._checked("cuCtxPopCurrent"):
                primary.pop()  # PyCUDA releases it with the last reference

    def _ask(self) -> DeviceFacts:
        device = self._drv.Context.get_device()
        major, minor = device.compute_capability()
        attributes = self._drv.device_attribute
        integrated = attributes.INTEGRATED
        driver = self._drv.get_driver_version()
        return DeviceFacts(
            name=device.name(),
            compute_capability=f"{major}.{minor}",
            driver=f"{driver // 1000}.{driver % 1000 // 10}",
            runtime=".".join(map(str, self._drv.get_version()[:2])),
            memory_bytes=int(device.total_memory()),
            integrated=bool(device.get_attribute(integrated)),
            multiprocessors=int(device.get_attribute(attributes.MULTIPROCESSOR_COUNT)),
        )

    @contextlib.contextmanager
    def _checked(self, call: str, prefix: str = "") -> Iterator[None]:
        """Errors of PyCUDA as ours; its text begins with the call that failed."""
        try:
            yield
        except self._drv.Error as error:
            text = " ".join(str(error).split()) or call
            raise EngineError(f"{prefix}{text}") from error


class _Wrapped:
    """An object of PyCUDA, which frees it with the last reference."""

    def __init__(self, device: PycudaDevice, wrapped: Any) -> None:
        self._device = device
        self.wrapped: Any = wrapped

    def close(self) -> None:
        """Free it."""
        self.wrapped = None


class PycudaStream(_Wrapped):
    """See `Stream`."""

    @property
    def handle(self) -> int:
        """See `Stream`."""
        return int(unwrap(self).handle)

    def wait(self, event: Event) -> None:
        """See `Stream.wait`."""
        with self._device._checked("cuStreamWaitEvent"):
            unwrap(self).wait_for_event(unwrap(event))

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        with self._device._checked("cuStreamSynchronize"):
            unwrap(self).synchronize()


class PycudaEvent(_Wrapped):
    """See `Event`."""

    def record(self, stream: Stream, *, in_graph: bool = False) -> None:
        """See `Event.record`."""
        with self._device._checked("cuEventRecord"):
            unwrap(self).record(unwrap(stream))

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        with self._device._checked("cuEventSynchronize"):
            unwrap(self).synchronize()


class PycudaDeviceMemory:
    """See `DeviceMemory`."""

    def __init__(self, allocation: Any) -> None:
        self._allocation = allocation
        self.address = int(allocation)

    def close(self) -> None:
        """See `DeviceMemory.close`."""
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()


class PycudaHostMemory:
    """See `HostMemory`."""

    def __init__(self, drv: Any, size_bytes: int) -> None:
        flags = drv.host_alloc_flags.DEVICEMAP
        self.array: NDArray[np.uint8] = drv.pagelocked_empty(
            size_bytes, np.uint8, mem_flags=flags
        )
        self._allocation: Any = self.array.base
        self.address = int(self._allocation.get_device_pointer())

    def close(self) -> None:
        """See `HostMemory.close`."""
        self.array = np.empty(0, np.uint8)
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()


def unwrap(resource: Event | Stream) -> Any:
    """PyCUDA's object in one of ours that is not closed."""
    if not isinstance(resource, _Wrapped):
        raise TypeError(f"{resource!r} is not of {__name__}")
    if resource.wrapped is None:
        raise EngineError(f"{type(resource).__name__} is used after it was closed")
    return resource.wrapped
