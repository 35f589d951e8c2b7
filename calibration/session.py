"""A graph on ONNX Runtime's processor, as a measuring instrument."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from derain.core.errors import CalibrationError
from derain.core.scratch import ScratchFolder

Frame = NDArray[np.uint8]


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
        self._input = self._session.get_inputs()[0].name
        self.names = [o.name for o in self._session.get_outputs()]

    def run(self, frame: Frame) -> dict[str, NDArray[np.float32]]:
        """The outputs for `frame`, `(H, W, 3)` uint8 BGR, by name.

        Raises:
            CalibrationError: The graph fails on it.
        """
        try:
            results = self._session.run(self.names, {self._input: frame[np.newaxis]})
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise CalibrationError(
                f"onnxruntime cannot run the graph on a frame of {frame.shape[1]}x"
                f"{frame.shape[0]}: {_line(error)}"
            ) from error
        # Copied: a result lies in the session's memory and keeps all of it (1.5 GB for
        # qsnet at 1280x720) as long as anyone has it.
        copies = (result.copy() for result in results)
        return dict(zip(self.names, copies, strict=True))

    def derain(self, frame: Frame) -> Frame:
        """The derained frame: the graph's first output, same shape and dtype."""
        return cast(Frame, self.run(frame)[self.names[0]][0])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
