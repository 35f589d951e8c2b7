"""INT8 on the exporter's own graph: calibration, then Q/DQ where it was decided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from derain.calibration.job import Job, make_job, run_job
from derain.calibration.pairs import read_pairs
from derain.calibration.ranges import Method
from derain.calibration.record import Calibration
from derain.export.operators.lowering import lower_operators
from derain.export.stages import Stages
from derain.export.to_onnx import CoreGraph
from derain.runtime.errors import ExportError
from derain.runtime.sizes import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Request:
    """Where an INT8 export gets its ranges.

    Attributes:
        calibration: File that ``derain-calibrate`` made; or
        job: frames to calibrate on.
        pairs: Folder of pairs to judge on besides.
    """

    calibration: Path | None = None
    job: Job | None = None
    pairs: Path | None = None

    def __post_init__(self) -> None:
        if (self.calibration is None) == (self.job is None):
            raise ExportError(
                "INT8 needs frames of the camera it is for: give --calibrate-on "
                "VIDEO-OR-FOLDER, or a file of derain-calibrate with --calibration"
            )


def int8_request(
    source: str | None,
    calibration: Path | None,
    *,
    pairs: Path | None,
    dry: bool,
    frames: int,
    method: Method,
    max_drop_db: float,
    min_psnr_db: float,
    max_flicker: float,
    report: Path | None,
    use_cache: bool,
) -> Int8Request:
    """The request that a command line makes; see `Job` and `Limits`.

    Raises:
        ExportError: Neither or both of `source` and `calibration` are given.
    """
    job = None
    if source is not None:
        job = make_job(
            source,
            dry=dry,
            frames=frames,
            method=method,
            max_drop_db=max_drop_db,
            min_psnr_db=min_psnr_db,
            max_flicker=max_flicker,
            report=report,
            use_cache=use_cache,
        )
    return Int8Request(calibration=calibration, job=job, pairs=pairs)


def plan_int8(
    core: CoreGraph, size: Size, request: Int8Request, stages: Stages
) -> Calibration:
    """The calibration for `core`, made now or read from a file.

    Args:
        core: The frame-to-frame graph in FP32, without bodies of operators.
        size: Of the frames to calibrate with.
        request: Where from.
        stages: Told what is going on.

    Raises:
        CalibrationError: It cannot, or must not, become INT8.
    """
    if request.calibration is not None:
        return Calibration.read(request.calibration)
    assert request.job is not None
    model = core.model.clone()
    lower_operators(model, "any", core.maps)
    pairs = () if request.pairs is None else read_pairs(request.pairs)
    return run_job(model, size, request.job, pairs=pairs, note=stages.note)
