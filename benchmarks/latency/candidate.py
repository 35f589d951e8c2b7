"""The one interface every row of the table offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # (H, W, 3) BGR, in host memory

STAGES = ("pre", "h2d", "compute", "d2h", "post")


class Candidate(Protocol):
    """A loaded way to derain frames, from host memory to host memory.

    ``with contextlib.closing(candidate):`` frees it.
    """

    @property
    def description(self) -> str:
        """What really runs: library, version, device, threads."""
        ...

    @property
    def split_ms(self) -> Mapping[str, float]:
        """How long each of `STAGES` of the last frame took, in ms.

        Without those that the candidate does not have, or cannot tell apart. The device
        is synchronised between them.
        """
        ...

    def infer(self, frame: Frame) -> Frame:
        """Derain one frame, and return when the result is in host memory.

        Args:
            frame: `(H, W, 3)` uint8 BGR, C-contiguous.

        Returns:
            The same shape and dtype; valid until the next call.
        """
        ...

    def device_bytes(self) -> int | None:
        """Most device memory taken so far; None where there is none, or no figure."""
        ...

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        ...
