"""The part of CUDA that a backend needs, as Protocols.

Whoever makes a resource owns it and closes it; closing twice is harmless. A resource is
closed when nothing that was started uses it any more: synchronise first. Every failure
of CUDA is an `EngineError` of one line with the call, the error's name and its text.

Everything belongs to the thread that opened the device.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from derain.core.errors import EngineError

if TYPE_CHECKING:  # what a device is can be said without NumPy
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One CUDA device.

    Attributes:
        name: As the driver calls it: "Orin", "NVIDIA GeForce RTX 4090".
        compute_capability: Major and minor version: "8.7".
        driver: CUDA version the driver supports: "12.6".
        runtime: CUDA version of the runtime library in use: "12.6".
        memory_bytes: Memory of the device; on a Jetson that of the whole machine.
        integrated: Whether device and processor share their memory, as on a Jetson.
        multiprocessors: How many it has: what tells one Orin from another, all of which
            call themselves "Orin", 8.7.
    """

    name: str
    compute_capability: str
    driver: str
    runtime: str
    memory_bytes: int
    integrated: bool
    multiprocessors: int


class DeviceMemory(Protocol):
    """Memory of the device.

    Attributes:
        address: Where it starts, for the device.
    """

    @property
    def address(self) -> int: ...  # noqa: D102

    def close(self) -> None:
        """Free it."""
        ...


class HostMemory(Protocol):
    """Memory of the host that stays in place and that the device reaches, too.

    Attributes:
        address: Where it starts, for the device: on a Jetson as fast as its own memory.
        array: Its bytes, `(bytes,)` uint8, for the processor; not to be used after
            `close`.
    """

    @property
    def address(self) -> int: ...  # noqa: D102

    @property
    def array(self) -> NDArray[np.uint8]: ...  # noqa: D102

    def close(self) -> None:
        """Free it."""
        ...


class Stream(Protocol):
    """Work for the device that runs in the order it was given.

    Attributes:
        handle: The ``cudaStream_t``, as TensorRT takes it.
    """

    @property
    def handle(self) -> int: ...  # noqa: D102

    def wait(self, event: Event) -> None:
        """Let later work start after what `event` recorded last."""
        ...

    def synchronize(self) -> None:
        """Return when all work is done."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Event(Protocol):
    """A moment in the work of a stream, and when it came."""

    def record(self, stream: Stream, *, in_graph: bool = False) -> None:
        """Mark what `stream` was given so far.

        Args:
            stream: Where.
            in_graph: `stream` is being captured: record each time the graph runs.
        """
        ...

    def synchronize(self) -> None:
        """Return when the device has come to where it was recorded last."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Graph(Protocol):
    """Work that was captured, to be started by one call."""

    def launch(self, stream: Stream) -> None:
        """Give all of it to `stream`."""
        ...

    def close(self) -> None:
        """Free it; it must not be running."""
        ...


class Device(Protocol):
    """An open CUDA device, and what makes its resources.

    Attributes:
        description: The package that talks to CUDA, its version, and how the processor
            waits for the device.
        facts: What the device is.
        has_graphs: Whether `capture` works.
    """

    @property
    def description(self) -> str: ...  # noqa: D102

    @property
    def facts(self) -> DeviceFacts: ...  # noqa: D102

    @property
    def has_graphs(self) -> bool: ...  # noqa: D102

    def host_memory(self, size_bytes: int) -> HostMemory:
        """Pinned memory of the host, mapped into the device's address space."""
        ...

    def device_memory(self, size_bytes: int) -> DeviceMemory:
        """Memory of the device."""
        ...

    def stream(self) -> Stream:
        """A stream that does not wait for the default stream."""
        ...

    def event(self) -> Event:
        """An event that takes the time."""
        ...

    def upload(
        self,
        target: DeviceMemory,
        source: HostMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """Start to copy the first bytes of `source` to `target`."""
        ...

    def download(
        self,
        target: HostMemory,
        source: DeviceMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """Start to copy the first bytes of `source` to `target`."""
        ...

    def copy(
        self,
        target: DeviceMemory,
        source: DeviceMemory,
        size_bytes: int,
        stream: Stream,
    ) -> None:
        """Start to copy the first bytes of `source` to `target`, on the device."""
        ...

    def clear(self, target: DeviceMemory, size_bytes: int, stream: Stream) -> None:
        """Start to make the first bytes of `target` zero."""
        ...

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Time from one event to another, in ms; both have come."""
        ...

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Write down what `work` gives to `stream`, instead of doing it.

        Other threads may go on using CUDA (thread-local capture).

        Raises:
            EngineError: Something in `work` cannot be captured; nothing of it is left,
                and `stream` is as it was.
        """
        ...

    def close(self) -> None:
        """Let go of the device; everything made with it is closed already."""
        ...


class Closable(Protocol):
    """Something that is closed."""

    def close(self) -> None:
        """Free it."""
        ...


ClosableT = TypeVar("ClosableT", bound=Closable)


def own(stack: ExitStack, resource: ClosableT) -> ClosableT:
    """Let `stack` close `resource`, which is returned."""
    at_exit(stack, resource.close)
    return resource


def at_exit(stack: ExitStack, callback: Callable[[], None]) -> None:
    """Let `stack` call `callback`; of several errors the first is the one raised.

    After an error of the device every further call fails, too: those say nothing new.
    """

    def leave(
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            callback()
        except EngineError:
            if error is None:
                raise

    stack.push(leave)
