"""The one interface every inference backend offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """One loaded bundle, ready to derain frames.

    A backend owns its device memory from construction until `close`. It is not
    thread-safe: use one per thread. ``with contextlib.closing(backend):`` frees it.
    """

    @property
    def description(self) -> str:
        """What really runs the graph: library, version, provider or device, threads."""
        ...

    def infer(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Derain one frame, synchronously.

        Args:
            frame: `(1, H, W, 3)` uint8 BGR, C-contiguous, of a size the bundle accepts.

        Returns:
            The derained frame, same shape and dtype. It may live in a buffer that the
            next call reuses: copy what must last.

        Raises:
            EngineError: The device reported a failure.
        """
        ...

    def close(self) -> None:
        """Free host and device memory. Calling it twice is harmless."""
        ...
