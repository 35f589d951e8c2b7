"""A whole calibration: frames from a source, ranges, the gate, the report."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from derain.calibration.accuracy_control import Limits
from derain.calibration.cache import Cache, default_folder
from derain.calibration.calibration_file import Calibration, RefusedError
from derain.calibration.frame_store import FRAMES, FrameStore, held_out_pairs
from derain.calibration.options import Settings
from derain.calibration.pairs import read_pairs
from derain.calibration.plan import Options, calibrate
from derain.calibration.report import require_matplotlib, write_report
from derain.calibration.scoring import HeldOut
from derain.calibration.sheet import contact_sheet
from derain.core.errors import CalibrationError
from derain.core.pictures import write_picture
from derain.core.sizes import Size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to calibrate on, and how.

    Attributes:
        source: Rainy frames: what `derain.runtime.video.open_source` takes.
        dry: `source` has no rain; some is rendered.
        frames: How many frames ranges are taken from.
        pairs: Folder of pairs to judge on besides; see `read_pairs`.
        options: How.
        report: Folder for the contact sheet, the table and the plot.
        use_cache: Whether to look for what was measured before.
    """

    source: str
    dry: bool = False
    frames: int = FRAMES
    pairs: Path | None = None
    options: Options = field(default_factory=Options)
    report: Path | None = None
    use_cache: bool = True


def make_job(source: str, frames: int, settings: Settings) -> Job:
    """The job that a command line describes."""
    limits = Limits(
        max_drop_db=settings.max_drop_db,
        min_psnr_db=settings.min_psnr_db,
        max_flicker=settings.max_flicker,
    )
    return Job(
        source=source,
        dry=settings.dry,
        frames=frames,
        pairs=settings.pairs,
        options=Options(method=settings.method, limits=limits),
        report=settings.report,
        use_cache=not settings.no_cache,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a job reads, ready for a graph.

    Attributes:
        job: The job.
        store: Its frames.
        pairs: Its pairs, fitted to the frames.
    """

    job: Job
    store: FrameStore
    pairs: tuple[HeldOut, ...]


@contextlib.contextmanager
def gather(job: Job, size: Size) -> Iterator[Material]:
    """Read everything that `job` names: what is wrong with it shows before slow work.

    Args:
        job: What to calibrate on, and how.
        size: Of the frames that the graph will run on.

    Raises:
        CalibrationError: Too few frames; or the report cannot be written.
        MediaError: The frames or pairs cannot be read.
    """
    if job.report is not None:
        require_matplotlib()
        _make_folder(job.report)
    pairs = () if job.pairs is None else held_out_pairs(read_pairs(job.pairs), size)
    with FrameStore() as store:
        store.collect(job.source, size, dry=job.dry, count=job.frames)
        _log.info(_summary(store, job.frames))
        if job.report is not None:
            write_picture(job.report / "frames.jpg", contact_sheet(store.chosen))
        yield Material(job=job, store=store, pairs=tuple(pairs))


def run_job(model: ir.Model, material: Material) -> Calibration:
    """Calibrate `model`.

    Args:
        model: A frame-to-frame FP32 graph; ``derain`` nodes have bodies.
        material: What to calibrate on, and how.

    Raises:
        CalibrationError: The graph cannot be INT8, or must not; the report then shows
            the curve.
    """
    job = material.job
    cache = Cache(default_folder() if job.use_cache else None)
    try:
        made = calibrate(
            model, material.store, job.options, cache, pairs=material.pairs
        )
    except RefusedError as refused:
        if job.report is not None:
            write_report(refused.calibration, job.report, refusal=str(refused))
            _log.info(f"the curve is in {job.report}")
        raise
    if job.report is not None:
        write_report(made, job.report)
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
