"""``derain-calibrate``: an FP32 bundle and frames in, a calibration file out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from derain.calibration.options import METHODS, CalibrationOptions
from derain.core.commands import Command
from derain.core.interrupts import signals_unwind
from derain.core.lazy import requires
from derain.core.options import options_from

_EPILOG = f"""\b
Methods: {", ".join(METHODS)}

\b
Examples:
  derain-export --model qsnet --size 640x360
  derain-calibrate qsnet-fp32-640x360 --source rainy.mp4 -o qsnet.json
  derain-export --model qsnet --int8 --calibration qsnet.json --size 1280x720
"""


@click.command(cls=Command, epilog=_EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--source",
    required=True,
    help="Video, folder or live source of the camera that it is for, in rain (see "
    "--dry).",
)
@options_from(CalibrationOptions)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    help="Calibration file to make.",
)
@click.option("--force", is_flag=True, help="Replace an existing file or report.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    bundle: Path,
    source: str,
    options: CalibrationOptions,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Find out how BUNDLE, exported with --fp32, can run in INT8.

    The result names the range of every tensor and the layers that stay in floating
    point so that the picture on held-out frames is what FP32 makes of them. It is good
    for any frame size: a small bundle is calibrated faster.

    Exit status: 0, 1 after a failure and where INT8 is refused, 2 for wrong usage, 143
    after SIGTERM.
    """
    with requires("export"):
        from derain.calibration.calibrate import calibrate
        from derain.calibration.report import table
    with signals_unwind():
        made = calibrate(bundle, source, output=output, force=force, **asdict(options))
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=2))
    else:
        click.echo("\n".join([*table(made), f"calibration file: {output}"]))


if __name__ == "__main__":
    main()
