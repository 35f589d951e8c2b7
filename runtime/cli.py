"""``derain-run``: a bundle and rainy frames in, derained frames out."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.core.commands import Command, Parsed
from derain.core.errors import ConfigError
from derain.runtime.backends import BACKENDS

if TYPE_CHECKING:
    from derain.runtime.pipeline.deadline import Late
    from derain.runtime.pipeline.views import View
    from derain.runtime.telemetry.reporter import Style

_BACKENDS_HELP = "; ".join(f"{name}: {row.summary}" for name, row in BACKENDS.items())


def _parse_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ValueError(f"{text!r} is not a rate such as 25 or 30000/1001")
    return rate


def _parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65536):
        raise ValueError(f"{text!r} is not an address such as 127.0.0.1:9400")
    return host.strip("[]"), int(port)


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
    required=True,
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
@click.option(
    "--resize",
    is_flag=True,
    help="Scale frames that the bundle does not take to the nearest size that it does, "
    "and the result back.",
)
@click.option(
    "--bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Another bundle, for frames that BUNDLE does not take. May be repeated; the "
    "first one that takes a size is opened when it comes.",
)
@click.option(
    "--view",
    type=click.Choice(("derained", "side-by-side", "split", "rain")),
    default="derained",
    show_default=True,
    help="What the sinks show: the result, before and after, or the rain alone.",
)
@click.option("--overlay", is_flag=True, help="Write the rates into the picture.")
@click.option(
    "--max-latency-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="Of a live source: how old a frame may get from the camera to the first sink. "
    "Without, the newest frame wins.",
)
@click.option(
    "--late",
    type=click.Choice(("drop", "pass")),
    default="drop",
    show_default=True,
    help="What becomes of a frame that would be older.",
)
@click.option(
    "--gate",
    type=click.Choice(("off", "auto")),
    default="off",
    show_default=True,
    help="auto: let dry scenes pass through untouched, and look now and then.",
)
@click.option(
    "--stats",
    type=click.Choice(("text", "json")),
    help="Write a line of statistics to standard error every few seconds.",
)
@click.option(
    "--stats-every",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How often.",
)
@click.option(
    "--metrics",
    type=Parsed("HOST:PORT", _parse_address),
    help="Serve the statistics for Prometheus at http://HOST:PORT/metrics.",
)
@click.option(
    "--preview",
    type=Parsed("HOST:PORT", _parse_address),
    help="Show before and after in browsers, at http://HOST:PORT/ (0.0.0.0: on all "
    "networks of this machine).",
)
@click.option(
    "--preview-token",
    metavar="TOKEN",
    envvar="DERAIN_PREVIEW_TOKEN",
    help="Show it only to who opens http://HOST:PORT/?token=TOKEN. Other users of this "
    "machine do not see it as DERAIN_PREVIEW_TOKEN or in the configuration file.",
)
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default=next(iter(BACKENDS)),
    show_default=True,
    help=f"What runs the network. {_BACKENDS_HELP}.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processor threads of the network; 0 takes one per core.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after N frames.",
)
@click.option(
    "--fps",
    type=Parsed("FPS", _parse_rate),
    help="Frame rate of a video made of pictures.  [default: 25]",
)
@click.option(
    "--crf",
    type=click.IntRange(0, 51),
    default=17,
    show_default=True,
    help="Quality of a video, from 0 (lossless) to 51; 6 more halves the file.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace files that exist; write into a folder that is not empty.",
)
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
    source: str,
    sinks: tuple[str, ...],
    resize: bool,
    bundles: tuple[Path, ...],
    view: View,
    overlay: bool,
    max_latency_ms: float | None,
    late: Late,
    gate: str,
    stats: Style | None,
    stats_every: float,
    metrics: tuple[str, int] | None,
    preview: tuple[str, int] | None,
    preview_token: str | None,
    backend: str,
    threads: int,
    limit: int | None,
    fps: Fraction | None,
    crf: int,
    force: bool,
    as_json: bool,
) -> None:
    """Remove the rain from pictures and video. BUNDLE is a folder derain-export made.

    The bundle first derains a frame whose result is known: a broken engine is found
    before the first real frame. Ctrl-C finishes the frame at hand; then, and after any
    failure, what was finished is kept, and a video plays. A second Ctrl-C quits now.

    Exit status: 0 at the end of the source, 1 after a failure (of one of several sinks,
    too), 2 for wrong usage, 130 after Ctrl-C and 143 after SIGTERM.

    \b
    Examples:
      derain-run qsnet-fp32-1280x720 --source rainy.mp4 --sink clean.mp4
      derain-run qsnet-fp32-1280x720 --source 'in/*.png' --sink out/ --resize
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    if not (sinks or preview):
        raise click.UsageError("missing option '--sink' (or '--preview')")
    # Our own line about a broken picture is enough.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Imported here so that --help needs neither NumPy nor OpenCV.
    from derain.core.interrupts import Interrupts
    from derain.runtime.pipeline.job import Job, run_job

    def write(line: str) -> None:
        click.echo(line, err=True)

    job = Job(
        bundle=bundle,
        bundles=bundles,
        source=source,
        sinks=sinks,
        resize=resize,
        backend=backend,
        threads=threads,
        limit=limit,
        fps=fps,
        crf=crf,
        force=force,
        view=view,
        overlay=overlay,
        max_latency_ms=max_latency_ms,
        late=late,
        gate=gate == "auto",
        stats=stats,
        stats_every_s=stats_every,
        metrics=metrics,
        preview=preview,
        preview_token=preview_token,
    )
    with Interrupts() as interrupts:
        report = run_job(job, interrupts, write)
    received = interrupts.received
    report["stopped_by"] = received and received.name
    if received is not None:
        click.echo(
            f"stopped by {received.name} after {report['frames']} frames", err=True
        )
    if report["frames"]:
        click.echo(json.dumps(report, indent=2) if as_json else _text(report))
    if received is not None:
        ctx.exit(128 + received)  # as the shell reports a signal


def _text(report: dict[str, Any]) -> str:
    psnr = report["golden_psnr_db"]
    return "\n".join(
        (
            f"frames     {report['frames']} in {report['seconds']:.1f} s, "
            f"{report['fps']:.1f} frames/s",
            f"network    {report['derain_ms']:.1f} ms per frame (median), "
            f"{report['model']} {report['precision']}",
            f"backend    {report['backend']}",
            "self-test  " + ("identical" if psnr is None else f"{psnr:.1f} dB"),
            f"result     {report['sink']}",
        )
    )


if __name__ == "__main__":
    main()
