"""The one interface every inference backend offers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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

    def infer(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Derain one frame, synchronously.

        Args:
            frame: `(1, H, W, 3)` uint8 BGR, C-contiguous, of a size the bundle accepts.

        Returns:
            The derained frame, same shape and dtype. It may live in a buffer that the
            next call reuses and `close` frees: copy what must last.

        Raises:
            EngineError: The device reported a failure.
        """
        ...

    def stream(
        self, frames: Iterable[NDArray[np.uint8]]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Derain many frames; where it pays, several are on their way at a time.

        Args:
            frames: Each as for `infer`; it may be changed once the next one is asked
                for.

        Yields:
            The derained frames, in order; each may live in a buffer that is reused when
            the next one is asked for. If `frames` raises, what came before is yielded
            first. `infer` must wait until the last one was yielded, or until the
            generator is closed.

        Raises:
            EngineError: The device reported a failure.
        """
        ...

    def close(self) -> None:
        """Free host and device memory. Calling it twice is harmless."""
        ...
