"""INT8 on the exporter's own graph: calibration, then Q/DQ where it was decided."""

from __future__ import annotations

import contextlib
from pathlib import Path

from derain.calibration.calibration_file import Calibration
from derain.calibration.job import Job, Material, gather, make_job, run_job
from derain.calibration.options import Settings
from derain.core.errors import ExportError
from derain.core.sizes import Size
from derain.export.operators.lowering import lower_operators
from derain.export.to_onnx import CoreGraph


def int8_request(
    source: str | None, calibration: Path | None, frames: int, settings: Settings
) -> Job | Calibration:
    """What a command line asks for: a calibration to make, or one that is there.

    Args:
        source: Frames to calibrate on; or
        calibration: file that ``derain-calibrate`` made.
        frames: How many frames of `source` ranges are taken from.
        settings: How.

    Raises:
        ExportError: Neither or both of `source` and `calibration` are given.
        CalibrationError: The file cannot be read.
    """
    if calibration is not None and source is None:
        return Calibration.read(calibration)
    if source is not None and calibration is None:
        return make_job(source, frames, settings)
    raise ExportError(
        "INT8 needs frames of the camera it is for: give --calibrate-on "
        "VIDEO-OR-FOLDER, or a file of derain-calibrate with --calibration"
    )


def read_int8(
    request: Job | Calibration | None, size: Size
) -> contextlib.AbstractContextManager[Material | Calibration | None]:
    """Everything that an INT8 export reads, before minutes of exporting.

    Args:
        request: What was asked for; None where the export is not INT8.
        size: Of the frames to calibrate with.

    Raises:
        CalibrationError: Too few frames.
        MediaError: They cannot be read.
    """
    if isinstance(request, Job):
        return gather(request, size)
    return contextlib.nullcontext(request)


def plan_int8(core: CoreGraph, material: Material | Calibration) -> Calibration:
    """The calibration for `core`: made now, or the one that was read.

    Args:
        core: The frame-to-frame graph in FP32, without bodies of operators.
        material: Of `read_int8`.

    Raises:
        CalibrationError: It cannot, or must not, become INT8.
    """
    if isinstance(material, Calibration):
        return material
    model = core.model.clone()
    lower_operators(model, "any", core.maps)
    return run_job(model, material)
