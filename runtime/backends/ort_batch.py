"""ONNX Runtime with the graph of several rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, StateError
from derain.runtime.backends.ort_memory import FATAL, BoundMemory
from derain.runtime.backends.protocol import Memory
from derain.runtime.backends.rows import Rows, check_rows

_ANY_ERROR = Exception  # the bindings' errors have no common base class


class OnnxRuntimeBatch:
    """See `BatchedGraph`: memories stay where they are, and are bound to rows.

    Args:
        bundle: Whose graph it is.
        one: The session that takes one frame.
        session: The one with the graph of several rows.
        new_memory: Makes a memory of the first.

    Raises:
        EngineError: The graphs do not belong together.
    """

    def __init__(
        self,
        bundle: Bundle,
        one: Any,
        session: Any,
        new_memory: Callable[[], BoundMemory],
    ) -> None:
        check_rows(bundle, _names(one), _names(session))
        self._one = one
        self._session = session
        self._rows = Rows(bundle.manifest.batch, new_memory)
        self._options = ort.RunOptions()
        self._options.log_severity_level = FATAL

    def infer(
        self, frames: Sequence[NDArray[np.uint8]], memories: Sequence[Memory]
    ) -> list[NDArray[np.uint8] | StateError]:
        """See `BatchedGraph.infer`."""
        own = [self._own(memory) for memory in memories]
        try:
            binding = self._session.io_binding()
            rows = self._rows.filled(frames, own)
            for row, (frame, memory) in enumerate(rows):
                memory.bind_row(binding, row, frame)
            self._session.run_with_iobinding(binding, self._options)
            pictures = [memory.results() for memory in own]
        except EngineError:
            raise
        except _ANY_ERROR as error:
            reason = " ".join(str(error).split())
            raise EngineError(f"onnxruntime failed: {reason}") from error
        return self._rows.ended(pictures, own)

    def stop(self) -> None:
        """See `StoppableBackend.stop`."""
        self._options.terminate = True

    def close(self) -> None:
        """See `BatchedGraph.close`."""
        self._rows.close()
        self._session = None

    def _own(self, memory: Memory) -> BoundMemory:
        if not isinstance(memory, BoundMemory) or memory.session is not self._one:
            raise EngineError("onnxruntime: this memory is of another backend")
        return memory


def _names(session: Any) -> tuple[list[str], list[str]]:
    return (
        [each.name for each in session.get_inputs()],
        [each.name for each in session.get_outputs()],
    )
