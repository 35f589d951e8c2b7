"""INT8 on the exporter's own graph: calibration, then Q/DQ where it was decided."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from derain.calibration.calibrate import calibrate_graph
from derain.calibration.calibration_file import Calibration
from derain.calibration.data import CalibrationData, read_data
from derain.calibration.frame_store import FrameSource
from derain.calibration.options import CalibrationOptions
from derain.calibration.session import Frame, GraphSession
from derain.core.errors import ExportError
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.metrics import CEILING_DB, mse_of_psnr, psnr_of_mse
from derain.core.sizes import Size
from derain.export.operators.lowering import lower_operators
from derain.export.to_onnx import CoreGraph
from derain.export.verify import GraphComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRequest:
    """A calibration to make.

    Attributes:
        source: Frames to calibrate on; see `FrameStore.collect`.
        options: How.
    """

    source: FrameSource
    options: CalibrationOptions = field(default_factory=CalibrationOptions)


def int8_request(
    source: FrameSource | None, calibration: Path | None, options: CalibrationOptions
) -> CalibrationRequest | Calibration:
    """What a command line asks for: a calibration to make, or one that is there.

    Args:
        source: Frames to calibrate on; or
        calibration: file that ``derain-calibrate`` made.
        options: How.

    Raises:
        ExportError: Neither or both of `source` and `calibration` are given.
        CalibrationError: The file cannot be read.
    """
    if calibration is not None and source is None:
        return Calibration.read(calibration)
    if source is not None and calibration is None:
        return CalibrationRequest(source=source, options=options)
    raise ExportError(
        "INT8 needs frames of the camera it is for: give --calibrate-on "
        "VIDEO-OR-FOLDER, or a file of derain-calibrate with --calibration"
    )


def read_int8(
    request: CalibrationRequest | Calibration | None,
    size: Size,
    memory: GraphMemory = NO_MEMORY,
    *,
    force: bool,
) -> contextlib.AbstractContextManager[CalibrationData | Calibration | None]:
    """Everything that an INT8 export reads, before minutes of exporting.

    Args:
        request: What was asked for; None where the export is not INT8.
        size: Of the frames to calibrate with.
        memory: Of the network.
        force: Replace an existing report.

    Raises:
        CalibrationError: Too few frames.
        MediaError: They cannot be read.
    """
    if isinstance(request, CalibrationRequest):
        return read_data(request.source, request.options, size, memory, force=force)
    return contextlib.nullcontext(request)


def plan_int8(core: CoreGraph, data: CalibrationData | Calibration) -> Calibration:
    """The calibration for `core`: made now, or the one that was read.

    Args:
        core: The frame-to-frame graph in FP32, without bodies of operators.
        data: Of `read_int8`.

    Raises:
        CalibrationError: It cannot, or must not, become INT8.
    """
    if isinstance(data, Calibration):
        return data
    model = core.model.clone()
    lower_operators(model, "any", core.maps)
    return calibrate_graph(model, data)


def run_as_measured(core: CoreGraph, frames: Sequence[Frame]) -> list[Frame]:
    """What accuracy control's instrument makes of `frames` with the INT8 graph.

    Args:
        core: The graph with Q/DQ, the rest still in FP32.
        frames: Each `(H, W, 3)` uint8 BGR, of sizes that the graph takes; its memory
            begins where the size changes.
    """
    model = core.model.clone()
    lower_operators(model, "any", core.maps)
    session = GraphSession(model)
    before: tuple[int, ...] = ()
    derained = []
    for frame in frames:
        start = core.memory if frame.shape != before else None
        derained.append(session.derain(frame, start))
        before = frame.shape
    return derained


def expected_psnr_db(calibration: Calibration, half: GraphComparison | None) -> float:
    """PSNR of an INT8 file against FP32, in dB, as far as it is known: errors add up.

    Args:
        calibration: Says what INT8 alone costs.
        half: What FP16 alone costs, where the rest is FP16.
    """
    if not calibration.curve:
        return 0.0
    error = mse_of_psnr(calibration.curve[-1]["psnr_db"])
    if half is not None:
        error += mse_of_psnr(half.psnr_db)
    return psnr_of_mse(error, CEILING_DB)
