"""``derain-run``: a bundle and rainy frames in, derained frames out."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.core.commands import Command
from derain.core.config_file import options_in, read_toml
from derain.core.errors import ConfigError, DerainError, StreamError
from derain.core.options import options_from
from derain.runtime.pipeline.options import RunOptions

if TYPE_CHECKING:
    from derain.runtime.pipeline.cameras import CameraConfig
    from derain.runtime.pipeline.fleet_report import FleetReport
    from derain.runtime.pipeline.report import Report

_FILE = "derain.config"  # where the context keeps the path
_TABLES = "derain.cameras"


def _load_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        content = read_toml(path)
        ctx.meta[_FILE], ctx.meta[_TABLES] = path, content.pop("camera", None)
        ctx.default_map = options_in(str(path), content, ctx.command)
    except ConfigError as error:  # options are read before `Command` looks
        raise click.ClickException(str(error)) from error


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PATH",
    help="Rainy frames: a picture, a folder of pictures, a quoted glob, a video; live: "
    "camera:0, v4l2:///dev/video0, csi://0, rtsp://, http://, gst:PIPELINE, - (Y4M); "
    "or test://rain for two seconds of rendered rain (fields: "
    "?size=1280x720&fps=24&seconds=2&seed=0, and live=1 for a camera's). Several "
    "cameras: --source NAME=PATH for each.",
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
    "does not stop the others. Needed unless there is --preview. Several cameras: "
    "--sink NAME=PATH.",
)
@options_from(RunOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="A TOML file with these options by their long names, BUNDLE as bundle, and a "
    "[[camera]] table for each of several cameras; SIGHUP reads those again. The "
    "command line wins.",
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
    too), 2 for wrong usage, 3 if some of several cameras failed and the others did not,
    130 after Ctrl-C and 143 after SIGTERM. SIGHUP ends nothing.

    \b
    Examples:
      derain-run qsnet-fp32-1280x720 --source rainy.mp4 --sink clean.mp4
      derain-run qsnet-fp32-1280x720 --source 'in/*.png' --sink out/ --resize
      derain-run --config cameras.toml
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    tables = ctx.meta.get(_TABLES)
    if not sources and tables is None:
        raise click.UsageError("missing option '--source'")
    if sources and tables is not None:
        raise click.UsageError(
            f"{ctx.meta[_FILE]} has [[camera]] tables: --source and --sink go there"
        )
    if tables is None and not (sinks or options.preview):
        raise click.UsageError("missing option '--sink' (or '--preview')")
    if not (all(sources) and all(sinks)):
        raise click.UsageError("--source and --sink must not be empty")
    # Our own line about a broken picture is enough.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    report: Report | FleetReport
    try:
        if tables is None and len(sources) == 1:
            report, received = _run_one(bundle, sources[0], sinks, options)
        else:
            report, received = _run_several(ctx, bundle, sources, sinks, options)
    except DerainError as error:
        if as_json:
            click.echo(json.dumps(_failure(error), indent=2))
        raise
    if received is not None:
        with contextlib.suppress(OSError):  # SIGHUP: the terminal may be gone
            click.echo(
                f"stopped by {received.name} after {report.frames} frames", err=True
            )
    failure: str | None = getattr(report, "failure", None)
    if report.frames or failure:
        click.echo(json.dumps(report.as_dict(), indent=2) if as_json else str(report))
    if received is not None:
        ctx.exit(128 + received)  # as the shell reports a signal
    if failure:
        partial = getattr(report, "is_partial", False)
        raise (_SomeFailed if partial else click.ClickException)(failure)


def _run_one(
    bundle: Path, source: str, sinks: tuple[str, ...], options: RunOptions
) -> tuple[Report, Any]:
    # Imported here so that --help needs neither NumPy nor OpenCV.
    from derain.core.interrupts import Interrupts
    from derain.runtime.pipeline.run import run

    with Interrupts(hangs_up=False) as interrupts:
        report = run(
            bundle,
            source,
            sinks,
            stopped=interrupts.stopped,
            **options.keywords(),
        )
    received = interrupts.received
    if received is not None:
        report = replace(report, stopped_by=received.name)
    return report, received


def _run_several(
    ctx: click.Context,
    bundle: Path,
    sources: tuple[str, ...],
    sinks: tuple[str, ...],
    options: RunOptions,
) -> tuple[FleetReport, Any]:
    from derain.core.interrupts import Interrupts, noted_hangups
    from derain.runtime.pipeline.cameras import cameras_in, cameras_of_pairs
    from derain.runtime.pipeline.fleet import Fleet

    common, need_sinks = options.of_a_camera(), options.preview is None
    changed: Callable[[], list[CameraConfig] | None] = lambda: None  # noqa: E731
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts(hangs_up=False))
        if ctx.meta.get(_TABLES) is None:
            try:
                cameras = cameras_of_pairs(
                    sources, sinks, common, need_sinks=need_sinks
                )
            except ConfigError as error:
                raise click.UsageError(str(error)) from error
        else:
            from derain.runtime.pipeline.reload import Reload

            path, tables = ctx.meta[_FILE], ctx.meta[_TABLES]
            cameras = cameras_in(str(path), tables, common, need_sinks=need_sinks)
            hangup = stack.enter_context(noted_hangups())
            changed = Reload(path, common, hangup, need_sinks=need_sinks).asked
        report = Fleet(
            bundle,
            cameras,
            options,
            stopped=interrupts.stopped,
            changed=changed,
        ).run()
    received = interrupts.received
    if received is not None:
        report.stopped_by = received.name
    return report, received


class _SomeFailed(click.ClickException):
    exit_code = 3  # of several cameras, and others did not


def _failure(error: DerainError) -> dict[str, Any]:
    """What ``--json`` says of a run that `error` has ended."""
    done: dict[str, Any] = {}
    if isinstance(error, StreamError) and error.report:
        done = error.report.as_dict()
    return {**done, "error": str(error), "exit_status": 1}


if __name__ == "__main__":
    main()
