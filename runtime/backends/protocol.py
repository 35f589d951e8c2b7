"""The one interface every inference backend offers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import StateError
from derain.core.sizes import SizeRange


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """How long a frame took on its way through a backend.

    Attributes:
        upload_ms: From the host to the device; 0 where nothing is copied, None where it
            cannot be told from `compute_ms`.
        compute_ms: The network.
        download_ms: From the device to the host; as `upload_ms`.
    """

    upload_ms: float | None
    compute_ms: float
    download_ms: float | None


class Memory(Protocol):
    """What one stream of frames has left behind: the states of a bundle's graph.

    Of the backend that made it, for frames of one size at a time: with the first frame,
    and with the first of another size, it makes room and starts afresh. Several
    memories of one backend know nothing of each other: several cameras, one engine.
    """

    def reset(self) -> None:
        """Forget all frames: the next one is a first one. Harmless once closed."""
        ...

    def close(self) -> None:
        """Free it; before the backend. Calling it twice is harmless."""
        ...


class NoMemory:
    """The memory of a bundle without states: there is nothing to forget."""

    def reset(self) -> None:
        """See `Memory.reset`."""

    def close(self) -> None:
        """See `Memory.close`."""


@runtime_checkable
class StoppableBackend(Protocol):
    """A backend whose `Backend.infer` another thread can end."""

    def stop(self) -> None:
        """Let the run at hand fail; harmless where there is none."""
        ...


def stop_of(backend: object) -> Callable[[], object]:
    """`StoppableBackend.stop` of a backend or graph; of one without it, nothing."""
    return backend.stop if isinstance(backend, StoppableBackend) else lambda: None


@runtime_checkable
class SizedBackend(Protocol):
    """A backend that takes fewer sizes than its bundle: an engine of one size."""

    @property
    def sizes(self) -> SizeRange:
        """Of the frames that it takes."""
        ...


class BatchedGraph(Protocol):
    """The second graph of a bundle, loaded: one frame each of several memories."""

    def infer(
        self, frames: Sequence[NDArray[np.uint8]], memories: Sequence[Memory]
    ) -> list[NDArray[np.uint8] | StateError]:
        """Derain frames in one call.

        Args:
            frames: At least one, at most ``manifest.batch``, of one size; each as for
                `Backend.infer`.
            memories: Of each the one that is its own, of the backend that opened this.

        Returns:
            For each frame what `Backend.infer` would return, or the `StateError` that
            it would raise: a memory that is spoiled is that of one row alone.

        Raises:
            EngineError: The device reported a failure.
        """
        ...

    def close(self) -> None:
        """Free it; before the backend. Calling it twice is harmless."""
        ...


@runtime_checkable
class BatchingBackend(Protocol):
    """A backend that can run the second graph of a bundle, too."""

    def open_batch(self) -> BatchedGraph:
        """Load it, in the thread of the backend.

        Raises:
            EngineError: It does not load.
        """
        ...


class Backend(Protocol):
    """One loaded bundle, ready to derain frames.

    A backend owns its device memory from construction until `close`. It belongs to the
    thread that opened it. ``with contextlib.closing(backend):`` frees it.
    """

    @property
    def description(self) -> str:
        """What really runs the graph: library, version, provider or device, threads."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is slower than it could be, and why; it may grow with the first frames.

        Each is for the user to read once.
        """
        ...

    @property
    def times(self) -> StageTimes | None:
        """How long the frame returned last took; None before the first."""
        ...

    def new_memory(self) -> Memory:
        """A memory that has seen no frame yet; one for each stream of frames."""
        ...

    def infer(self, frame: NDArray[np.uint8], memory: Memory) -> NDArray[np.uint8]:
        """Derain one frame, synchronously.

        Args:
            frame: `(1, H, W, 3)` uint8 BGR, C-contiguous, of a size the bundle accepts.
            memory: Of the frames before; now of this one, too. From `new_memory`.

        Returns:
            The derained frame, same shape and dtype. It may live in a buffer that the
            next call reuses and `close` frees: copy what must last.

        Raises:
            EngineError: The device reported a failure.
            StateError: A state is no longer finite; the memory was reset, and nothing
                may be used of the picture.
        """
        ...

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], memory: Memory
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Derain many frames; where it pays, several are on their way at a time.

        Args:
            frames: Each as for `infer`; it may be changed once the next one is asked
                for.
            memory: As for `infer`; it goes on from what it has seen.

        Yields:
            The derained frames, in order; each may live in a buffer that is reused when
            the next one is asked for. If `frames` raises, what came before is yielded
            first. `infer` must wait until the last one was yielded, or until the
            generator is closed.

        Raises:
            EngineError: The device reported a failure.
            StateError: As `infer`, in place of that frame's picture; the stream is
                over.
        """
        ...

    def close(self) -> None:
        """Free host and device memory. Calling it twice is harmless."""
        ...
