"""Calibrating what ``derain-export`` made: an FP32 bundle."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx_ir as ir

from derain.calibration.calibration_file import Calibration
from derain.calibration.job import Job, gather, run_job
from derain.core.bundle import Bundle
from derain.core.errors import CalibrationError

_log = logging.getLogger(__name__)


def calibrate_bundle(
    folder: Path,
    job: Job,
    output: Path,
    *,
    force: bool,
) -> Calibration:
    """Calibrate the bundle in `folder` and write the file `output`.

    Args:
        folder: A bundle in FP32, of any target.
        job: What to calibrate on, and how.
        output: Calibration file; appears whole or not at all.
        force: Replace an existing file.

    Raises:
        BundleError: `folder` is no bundle, or damaged.
        CalibrationError: It cannot, or must not, become INT8; or `output` exists.
        MediaError: The job's frames cannot be read.
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
    with gather(job, manifest.sizes.optimum) as material:
        made = run_job(ir.load(bundle.model_path), material)
    made.write(output)
    return made
