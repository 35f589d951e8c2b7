"""A graph on ONNX Runtime's processor, as a measuring instrument."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from derain.core.errors import CalibrationError
from derain.core.frame_limit import frame_limit
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.scratch import ScratchFolder

Frame = NDArray[np.uint8]


class Shot(NamedTuple):
    """A frame, and what a network remembers before it.

    Attributes:
        frame: `(H, W, 3)` uint8 BGR.
        start: The memory begins with it; None: it goes on from the frame before.
    """

    frame: Frame
    start: GraphMemory | None = NO_MEMORY


def state_outputs(graph: ir.Graph) -> list[ir.Value]:
    """The outputs of `graph` that go in again with the next frame."""
    given = {str(value.name) for value in graph.inputs}
    return [value for value in graph.outputs if _input_of(str(value.name)) in given]


def _input_of(output: str) -> str:
    return f"{output.removesuffix('_out')}_in"


class GraphSession:
    """Runs a frame-to-frame graph; Q/DQ is computed as it is written, in FP32.

    INT8 kernels of processors differ (without VNNI their 16-bit sums saturate), and a
    GPU has none of them.

    Args:
        model: The graph; ``derain`` nodes have bodies.

    Raises:
        CalibrationError: ONNX Runtime refuses the graph.
    """

    def __init__(self, model: ir.Model) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        with ScratchFolder() as folder:
            path = Path(folder) / "model.onnx"
            try:
                ir.save(model, path)
            except OSError as error:
                raise CalibrationError(
                    f"{folder} cannot hold the graph: {error.strerror}; set TMPDIR to "
                    "a larger place"
                ) from error
            try:
                self._session = ort.InferenceSession(
                    path, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's errors share no base class
                raise CalibrationError(
                    f"onnxruntime cannot load the graph: {_line(error)}"
                ) from error
        self._input, *given = (i.name for i in self._session.get_inputs())
        outputs = [o.name for o in self._session.get_outputs()]
        states = [name for name in outputs if _input_of(name) in given]
        self.names = [name for name in outputs if name not in states]
        self._fetched = [*self.names, *states]
        self._goes_in = [_input_of(name) for name in states]
        self._states: dict[str, NDArray[Any]] = {}

    def run(
        self, frame: Frame, start: GraphMemory | None = NO_MEMORY
    ) -> dict[str, NDArray[np.float32]]:
        """The outputs for a `Shot`, but for the states, by name.

        Raises:
            CalibrationError: The graph fails on it.
        """
        if start is not None:
            self._states = start.start(frame)
        given = {self._input: frame[np.newaxis], **self._states}
        options = ort.RunOptions()
        options.log_severity_level = 4  # a run that fails raises
        try:
            with frame_limit(lambda: setattr(options, "terminate", True)):
                results = self._session.run(self._fetched, given, options)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise CalibrationError(
                f"onnxruntime cannot run the graph on a frame of {frame.shape[1]}x"
                f"{frame.shape[0]}: {_line(error)}"
            ) from error
        # Copied: a result lies in the session's memory and keeps all of it (1.5 GB for
        # qsnet at 1280x720) as long as anyone has it.
        copies = [result.copy() for result in results]
        shown = len(self.names)
        self._states = dict(zip(self._goes_in, copies[shown:], strict=True))
        return dict(zip(self.names, copies[:shown], strict=True))

    def derain(self, frame: Frame, start: GraphMemory | None = NO_MEMORY) -> Frame:
        """The derained frame: the graph's first output, same shape and dtype."""
        return cast(Frame, self.run(frame, start)[self.names[0]][0])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
