"""``derain-run``: a bundle and rainy frames in, derained frames out."""

from __future__ import annotations

import json
import math
import os
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.runtime.backends import BACKENDS
from derain.runtime.commands import Command, Parsed

if TYPE_CHECKING:
    from derain.runtime.derainer import Derainer
    from derain.runtime.stream import Summary

_BACKENDS_HELP = "; ".join(f"{name}: {row.summary}" for name, row in BACKENDS.items())


def _parse_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ValueError(f"{text!r} is not a rate such as 25 or 30000/1001")
    return rate


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--source",
    required=True,
    metavar="PATH",
    help="Rainy frames: a picture, a folder of pictures, a quoted glob, a video, or "
    "test://rain for two seconds of rendered rain (fields: "
    "?size=1280x720&fps=24&seconds=2&seed=0).",
)
@click.option(
    "--sink",
    required=True,
    metavar="PATH",
    help="Where the result goes: a picture, a folder (one picture a frame, under its "
    "name), a video (.mp4 .mov .mkv: H.264 that browsers play, with the times and the "
    "audio of the source), or null: to measure only.",
)
@click.option(
    "--resize",
    is_flag=True,
    help="Scale frames that the bundle does not take to the nearest size that it does, "
    "and the result back.",
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
@click.option("--quiet", "-q", is_flag=True, help="No progress and no notes.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    bundle: Path,
    source: str,
    sink: str,
    resize: bool,
    backend: str,
    threads: int,
    limit: int | None,
    fps: Fraction | None,
    crf: int,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Remove the rain from pictures and video. BUNDLE is a folder derain-export made.

    The bundle first derains a frame whose result is known: a broken engine is found
    before the first real frame. Ctrl-C finishes the frame at hand; then, and after any
    failure, what was finished is kept, and a video plays.

    \b
    Examples:
      derain-run qsnet-fp32-1280x720 --source rainy.mp4 --sink clean.mp4
      derain-run qsnet-fp32-1280x720 --source 'in/*.png' --sink out/ --resize
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    # Our own line about a broken picture is enough.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Imported here so that --help needs neither NumPy nor OpenCV.

    from derain.runtime.bundle import Bundle
    from derain.runtime.derainer import Derainer
    from derain.runtime.interrupts import Interrupts
    from derain.runtime.progress import Progress
    from derain.runtime.stream import StreamOptions, run
    from derain.runtime.video import SinkOptions, open_sink, open_source

    def note(text: str) -> None:
        if not quiet:
            click.echo(f"note: {text}", err=True)

    with Interrupts() as interrupts, closing(open_source(source, fps)) as frames:
        options = SinkOptions(force=force, crf=crf, limit=limit)
        output = open_sink(sink, frames.info, options)
        opened = Bundle.open(bundle)
        if opened.manifest.precision == "fp16" and backend == "onnxruntime":
            note(
                "processors emulate FP16: a bundle exported with --fp32 is faster here"
            )
        with closing(Derainer(opened, backend, threads)) as derainer:
            total = frames.info.frames
            if limit is not None:
                total = limit if total is None else min(limit, total)
            progress = Progress(total)
            try:
                summary = run(
                    frames,
                    derainer,
                    [output],
                    StreamOptions(
                        limit=limit,
                        resize=resize,
                        stopped=lambda: interrupts.received,
                        progress=(lambda done: None) if quiet else progress.update,
                    ),
                )
            finally:
                progress.close()
            for text in (*derainer.notes, *output.notes):
                note(text)
            report = _report(summary, derainer, output.description or sink)
            report["stopped_by"] = interrupts.received and interrupts.received.name
    if interrupts.received is not None:
        click.echo(
            f"stopped by {interrupts.received.name} after {summary.frames} frames",
            err=True,
        )
    if summary.frames:
        click.echo(json.dumps(report, indent=2) if as_json else _text(report))
    if interrupts.received is not None:
        ctx.exit(128 + interrupts.received)  # as the shell reports a signal


def _report(summary: Summary, derainer: Derainer, sink: str) -> dict[str, Any]:
    manifest = derainer.bundle.manifest
    psnr = derainer.golden_psnr_db
    return {
        "frames": summary.frames,
        "seconds": round(summary.seconds, 3),
        "fps": round(summary.fps, 3),
        "derain_ms": summary.derain_ms and round(summary.derain_ms, 3),
        "model": manifest.model,
        "precision": manifest.precision,
        "backend": derainer.description,
        "golden_psnr_db": None if math.isinf(psnr) else round(psnr, 2),
        "sink": sink,
    }


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
