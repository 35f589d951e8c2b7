"""Calibrating what ``derain-export`` made: an FP32 bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.errors import CalibrationError
from derain.calibration.gate import Limits
from derain.calibration.job import Job, run_job
from derain.calibration.pairs import read_pairs
from derain.calibration.plan import Options
from derain.calibration.ranges import Method
from derain.calibration.record import Calibration
from derain.runtime.bundle import Bundle

Picture = NDArray[np.uint8]


def calibrate_bundle(
    folder: Path,
    source: str,
    output: Path,
    *,
    frames: int,
    dry: bool,
    pairs: Path | None,
    method: Method,
    max_drop_db: float,
    min_psnr_db: float,
    report: Path | None,
    use_cache: bool,
    force: bool,
    note: Callable[[str], None],
) -> Calibration:
    """Calibrate the bundle in `folder` and write the file `output`.

    Args:
        folder: A bundle in FP32, of any target.
        source: Frames; see `Job`.
        output: Calibration file; appears whole or not at all.
        frames: See `Job`.
        dry: See `Job`.
        pairs: Folder of pairs to judge on besides.
        method: See `Options`.
        max_drop_db: See `Limits`.
        min_psnr_db: See `Limits`.
        report: See `Job`.
        use_cache: See `Job`.
        force: Replace an existing file.
        note: Told what is going on, a line at a time.

    Raises:
        BundleError: `folder` is no bundle, or damaged.
        CalibrationError: It cannot, or must not, become INT8; or `output` exists.
    """
    if output.exists() and not force:
        raise CalibrationError(f"{output} exists; replace it with --force")
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    if manifest.precision != "fp32":
        raise CalibrationError(
            f"{folder} is in {manifest.precision}, wanted fp32: run derain-export "
            f"--model {manifest.model} --fp32"
        )
    made = run_job(
        ir.load(bundle.model_path),
        manifest.sizes.optimum,
        Job(
            source=source,
            dry=dry,
            frames=frames,
            options=Options(
                method=method,
                limits=Limits(max_drop_db=max_drop_db, min_psnr_db=min_psnr_db),
            ),
            report=report,
            use_cache=use_cache,
        ),
        pairs=() if pairs is None else read_pairs(pairs),
        note=note,
    )
    made.write(output)
    return made
