"""``derain-run``: a bundle and rainy frames in, derained frames out."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path

import click

from derain.core.commands import Command
from derain.core.errors import ConfigError
from derain.core.options import options_from
from derain.runtime.pipeline.options import RunOptions


def _load_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is not None:
        from derain.core.config_file import read_config

        try:
            ctx.default_map = read_config(path, ctx.command)
        except ConfigError as error:  # options are read before `Command` looks
            raise click.ClickException(str(error)) from error


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--source",
    "sources",
    required=True,
    multiple=True,
    metavar="PATH",
    help="Rainy frames: a picture, a folder of pictures, a quoted glob, a video; live: "
    "camera:0, v4l2:///dev/video0, csi://0, rtsp://, http://, gst:PIPELINE, - (Y4M); "
    "or test://rain for two seconds of rendered rain (fields: "
    "?size=1280x720&fps=24&seconds=2&seed=0, and live=1 for a camera's).",
)
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="PATH",
    help="Where the result goes: a picture, a folder (one picture a frame, under its "
    "name), a video (.mp4 .mov .mkv: H.264 that browsers play, with the times and the "
    "audio of the source; .mp4?codec=hevc), rtsp:// of a server, v4l2:// (loopback), "
    "window:, - (Y4M), or null: to measure only. May be repeated: one that fails "
    "does not stop the others. Needed unless there is --preview.",
)
@options_from(RunOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="A TOML file with these options by their long names, and BUNDLE as bundle. "
    "The command line wins.",
)
@click.pass_context
def main(
    ctx: click.Context,
    bundle: Path,
    sources: tuple[str, ...],
    sinks: tuple[str, ...],
    options: RunOptions,
    as_json: bool,
) -> None:
    """Remove the rain from pictures and video. BUNDLE is a folder derain-export made.

    The bundle first derains a frame whose result is known: a broken engine is found
    before the first real frame. Ctrl-C finishes the frame at hand; then, and after any
    failure, what was finished is kept, and a video plays: out.mp4 is out.partial.mp4
    until it is whole. A second Ctrl-C quits now.

    Exit status: 0 at the end of the source, 1 after a failure (of one of several sinks,
    too), 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.

    \b
    Examples:
      derain-run qsnet-fp32-1280x720 --source rainy.mp4 --sink clean.mp4
      derain-run qsnet-fp32-1280x720 --source 'in/*.png' --sink out/ --resize
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    if len(sources) > 1:
        raise click.UsageError("give one --source: a run reads one")
    if not (sinks or options.preview):
        raise click.UsageError("missing option '--sink' (or '--preview')")
    if not (all(sources) and all(sinks)):
        raise click.UsageError("--source and --sink must not be empty")
    # Our own line about a broken picture is enough.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Imported here so that --help needs neither NumPy nor OpenCV.
    from derain.core.interrupts import Interrupts
    from derain.runtime.pipeline.run import run

    with Interrupts() as interrupts:
        report = run(
            bundle,
            sources[0],
            sinks,
            stopped=interrupts.stopped,
            **options.keywords(),
        )
    received = interrupts.received
    if received is not None:
        report = replace(report, stopped_by=received.name)
        with contextlib.suppress(OSError):  # SIGHUP: the terminal may be gone
            click.echo(
                f"stopped by {received.name} after {report.frames} frames", err=True
            )
    if report.frames:
        click.echo(json.dumps(report.as_dict(), indent=2) if as_json else str(report))
    if received is not None:
        ctx.exit(128 + received)  # as the shell reports a signal


if __name__ == "__main__":
    main()
