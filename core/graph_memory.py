"""What a graph remembers, and how it begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derain.core.frame_contract import FrameContract
from derain.core.frame_tensors import Frame
from derain.core.sizes import Size
from derain.core.states import StateSpec


@dataclass(frozen=True, slots=True)
class GraphMemory:
    """The states of a graph.

    Attributes:
        states: In order; none where it sees one frame alone.
        contract: Says at which size the network sees a frame.
        look_ahead: The picture is of the frame so many before the last.
    """

    states: tuple[StateSpec, ...] = ()
    contract: FrameContract = field(default_factory=FrameContract)
    look_ahead: int = 0

    @property
    def window(self) -> int:
        """Frames that it sees at once: the last, and those among the states."""
        return 1 + sum(state.start == "frame" for state in self.states)

    def start(self, frame: Frame) -> dict[str, NDArray[Any]]:
        """The states before `frame`, `(H, W, 3)` uint8 BGR, by the inputs' names."""
        size = Size(frame.shape[1], frame.shape[0])
        padded = self.contract.padded(size)
        return {
            state.input: frame[np.newaxis]
            if state.start == "frame"
            else np.zeros(state.shape_for(size, padded), state.dtype)
            for state in self.states
        }


NO_MEMORY = GraphMemory()
