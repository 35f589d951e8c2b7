"""OpenVINO with the graph of several rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from derain.core.batch_file import of_row
from derain.core.errors import EngineError, StateError
from derain.runtime.backends.openvino_memory import TensorMemory
from derain.runtime.backends.protocol import Memory
from derain.runtime.backends.rows import Rows
from derain.runtime.backends.states import HEALTH

_ANY_ERROR = Exception  # what the bindings raise has no common base class


class OpenVinoBatch:
    """See `BatchedGraph`: the states of each memory are set as those of a row.

    Args:
        request: Of OpenVINO, for the graph of several rows.
        ports: Its inputs and outputs by their names.
        frame: Name of the frame in the graph that takes one.
        derained: Of the derained frame.
        has_health: Whether it says if states are finite.
        rows: Fills them.
        one: The request that takes one frame, whose memories these are.
    """

    def __init__(
        self,
        request: Any,
        ports: Mapping[str, Any],
        *,
        frame: str,
        derained: str,
        has_health: bool,
        rows: Rows[TensorMemory],
        one: Any,
    ) -> None:
        self._request = request
        self._ports = ports
        self._frame = frame
        self._derained = derained
        self._has_health = has_health
        self._rows = rows
        self._one = one

    def infer(
        self, frames: Sequence[NDArray[np.uint8]], memories: Sequence[Memory]
    ) -> list[NDArray[np.uint8] | StateError]:
        """See `BatchedGraph.infer`."""
        own = [self._own(memory) for memory in memories]
        try:
            for row, (frame, memory) in enumerate(self._rows.filled(frames, own)):
                # Shared: the frame is read where it lies.
                shown = ov.Tensor(frame, shared_memory=True)
                tensors = {self._frame: shown, **memory.tensors(frame)}
                for name, tensor in tensors.items():
                    self._request.set_tensor(self._ports[of_row(name, row)], tensor)
            self._request.infer()
            pictures = [
                (self._made(self._derained, row), self._health(row))
                for row in range(len(own))
            ]
        except EngineError:
            raise
        except _ANY_ERROR as error:
            raise EngineError(f"openvino failed: {error_line(error)}") from error
        return self._rows.ended(pictures, own)

    def close(self) -> None:
        """See `BatchedGraph.close`."""
        self._rows.close()
        self._request = None

    def _made(self, name: str, row: int) -> NDArray[np.uint8]:
        port = self._ports[of_row(name, row)]
        return cast(NDArray[np.uint8], self._request.get_tensor(port).data)

    def _health(self, row: int) -> float:
        return float(self._made(HEALTH, row)) if self._has_health else 0.0

    def _own(self, memory: Memory) -> TensorMemory:
        if not isinstance(memory, TensorMemory) or memory.request is not self._one:
            raise EngineError("openvino: this memory is of another backend")
        return memory


def error_line(error: Exception) -> str:
    """What OpenVINO says, without the places in its own sources."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    said = [x for x in lines if x and not x.startswith(("Exception from", "Check '"))]
    if "Summary:" in said:  # after a page of what came of it
        said = [said[said.index("Summary:") + 1].removeprefix("-- ")]
    return " ".join(said or lines)
