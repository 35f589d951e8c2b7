"""The one interface every row of the table offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # (H, W, 3) BGR, in host memory

STAGES = ("pre", "h2d", "compute", "d2h", "post")


@dataclass(frozen=True, slots=True)
class FrameMemory:
    """What is remembered between frames.

    Attributes:
        state_bytes: Length of all states; 0 without a memory. Each frame reads them and
            writes as many.
        look_ahead: How many frames a picture comes late.
    """

    state_bytes: int = 0
    look_ahead: int = 0


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

    @property
    def memory(self) -> FrameMemory:
        """What it remembers between frames."""
        ...

    def infer(self, frame: Frame) -> Frame | None:
        """Derain one frame, and return when the result is in host memory.

        What is remembered of the frames before goes in, as in a stream.

        Args:
            frame: `(H, W, 3)` uint8 BGR, C-contiguous.

        Returns:
            The same shape and dtype; valid until the next call. With look-ahead it is
            that of a frame before, and may be None where there is none yet.
        """
        ...

    def reset(self) -> None:
        """Forget the frames so far: the next one begins another clip."""
        ...

    def device_bytes(self) -> int | None:
        """Most device memory taken so far; None where there is none, or no figure."""
        ...

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        ...
