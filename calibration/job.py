"""A whole calibration: frames from a source, ranges, the gate, the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.cache import Cache, default_folder
from derain.calibration.errors import CalibrationError
from derain.calibration.frames import FRAMES, FrameStore, held_out_pairs
from derain.calibration.gate import Limits
from derain.calibration.plan import Options, calibrate
from derain.calibration.ranges import Method
from derain.calibration.record import Calibration, RefusedError
from derain.calibration.report import require_matplotlib, write_report
from derain.calibration.sheet import contact_sheet
from derain.runtime.pictures import write_picture
from derain.runtime.sizes import Size

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to calibrate on, and how.

    Attributes:
        source: Rainy frames: what `derain.runtime.video.open_source` takes.
        dry: `source` has no rain; some is rendered.
        frames: How many frames ranges are taken from.
        options: How.
        report: Folder for the contact sheet, the table and the plot.
        use_cache: Whether to look for what was measured before.
    """

    source: str
    dry: bool = False
    frames: int = FRAMES
    options: Options = field(default_factory=Options)
    report: Path | None = None
    use_cache: bool = True


def make_job(
    source: str,
    *,
    dry: bool,
    frames: int,
    method: Method,
    max_drop_db: float,
    min_psnr_db: float,
    max_flicker: float,
    report: Path | None,
    use_cache: bool,
) -> Job:
    """The job that a command line describes; see `Job`, `Options` and `Limits`."""
    limits = Limits(
        max_drop_db=max_drop_db, min_psnr_db=min_psnr_db, max_flicker=max_flicker
    )
    return Job(
        source=source,
        dry=dry,
        frames=frames,
        options=Options(method=method, limits=limits),
        report=report,
        use_cache=use_cache,
    )


def run_job(
    model: ir.Model,
    size: Size,
    job: Job,
    *,
    pairs: Sequence[tuple[Picture, Picture]] = (),
    note: Callable[[str], None] = lambda text: None,
) -> Calibration:
    """Calibrate `model`.

    Args:
        model: A frame-to-frame FP32 graph; ``derain`` nodes have bodies.
        size: Of the frames to run it on.
        job: What to calibrate on, and how.
        pairs: Rainy and clean pictures to judge on besides, `(H, W, 3)` uint8 BGR.
        note: Told what is going on, a line at a time.

    Raises:
        CalibrationError: The graph cannot be INT8, or must not; the report then shows
            the curve.
        MediaError: The frames cannot be read.
    """
    report = job.report
    if report is not None:
        require_matplotlib()
        _make_folder(report)
    cache = Cache(default_folder() if job.use_cache else None)
    with FrameStore() as store:
        store.collect(job.source, size, dry=job.dry, count=job.frames)
        note(_summary(store, job.frames))
        if report is not None:
            write_picture(report / "frames.jpg", contact_sheet(store.chosen))
        try:
            made = calibrate(
                model,
                store,
                job.options,
                cache,
                pairs=held_out_pairs(pairs, size),
                note=note,
            )
        except RefusedError as refused:
            if report is not None:
                write_report(refused.calibration, report, refusal=str(refused))
                note(f"the curve is in {report}")
            raise
    if report is not None:
        write_report(made, report)
    return made


def _summary(store: FrameStore, wanted: int) -> str:
    text = (
        f"{store.description}: {len(store.chosen)} frames for ranges, "
        f"{len(store.held_out)} to judge, of {store.seen}"
    )
    if len(store.chosen) < wanted:
        text += f" (wanted {wanted}; {store.repeated} repeat others)"
    if store.resized:
        text += "; cropped or mirrored to fit"
    return text


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CalibrationError(
            f"{folder} cannot be written: {error.strerror}; choose another --report"
        ) from error
    if not os.access(folder, os.W_OK):
        raise CalibrationError(f"{folder} cannot be written; choose another --report")
