"""What a stream of frames remembers, as tensors of OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from derain.core.manifest import Manifest
from derain.runtime.backends.states import SwappedStates


class TensorMemory(SwappedStates[Any]):
    """See `Memory`: tensors that are set as the request's inputs and outputs, in turns.

    OpenVINO's own states (`MakeStateful`) belong to a request: each stream of frames
    would take one, with all that the network needs in between. They save a copy of each
    state into the layout that convolutions have: 1 % of a frame (16 channels at half
    size, 9 convolutions of 32, 1280x720, 2026.4 on one busy core, least time of 12:
    499 ms bound, 495 ms with its states, 488 ms the graph without them).

    Args:
        request: Of OpenVINO.
        manifest: Of its bundle.
        ports: The request's inputs and outputs by their names in the graph.
    """

    def __init__(
        self, request: Any, manifest: Manifest, ports: Mapping[str, Any]
    ) -> None:
        super().__init__(
            manifest,
            lambda shape, dtype: ov.Tensor(ov.Type(dtype), ov.Shape(shape)),
            lambda tensor, array: np.copyto(tensor.data, array),
        )
        self.request = request
        self._ports = ports
        self._turns: list[dict[str, Any]] = []

    def bind(self, frame: NDArray[np.uint8]) -> None:
        """Let the request read and write the states as it is `frame`'s turn."""
        for name, tensor in self.tensors(frame).items():
            self.request.set_tensor(self._ports[name], tensor)

    def tensors(self, frame: NDArray[np.uint8]) -> Mapping[str, Any]:
        """The states by their names, as they are read and written with `frame`."""
        if self.begin(frame):
            self._turns = [
                {**inputs, **outputs}
                for inputs, outputs in map(self.bindings, range(2))
            ]
        return self._turns[self.turn]

    def _free(self) -> None:
        self._turns = []
        super()._free()
