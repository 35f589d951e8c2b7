"""``derain-train``: train networks, and what belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from derain.core.atomic_files import require_free
from derain.core.commands import COUNT, Command, DefaultGroup, Number, Whole
from derain.core.errors import ConfigError
from derain.core.lazy import requires
from derain.core.options import options_from
from derain.models.registry import MODELS
from derain.training.options import TrainingOptions

_PATH = click.Path(path_type=Path)


@click.group(cls=DefaultGroup, default="train")
def main() -> None:
    """Train a network, or go on with the run that is in the output folder.

    `derain-train publish RUN` makes weights of a run: one file, in float16 where that
    keeps every PSNR to 0.01 dB, and a JSON record, which holds the command of the run.
    There PAIRS (PAIRS1, PAIRS2, ...) and CLIPS stand for the folders after --pairs and
    --clips, PHOTOGRAPHS for that after --clean, WEIGHTS for the file that publish made
    of the run before, the last of "earlier_runs", RAIN for the file that derain-train
    rain prints of the record, and VGG16 for the checkpoint after --vgg; a folder after
    --not-in goes by the last two parts of its path.
    """


@main.command("train", cls=Command, hidden=True)
@options_from(TrainingOptions)
def _train(options: TrainingOptions) -> None:
    from derain.training.recipes import check

    try:
        check(options)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    with requires("train"):
        from derain.models.allocator import keep_memory
        from derain.training.run import train
    keep_memory()
    train(options)
    click.echo(options.folder)


@main.command("queue", cls=Command)
@click.argument("runs", type=_PATH)
@click.option(
    "--slice-minutes",
    type=Number(0, 10**6, above=True),
    default=30.0,
    show_default=True,
    help="Training time of one run before the next has its turn.",
)
@click.pass_context
def _queue(context: click.Context, runs: Path, slice_minutes: float) -> None:
    """Train the runs in the file RUNS in turn, until all are finished.

    RUNS is a TOML file with a [[run]] table for each, whose keys are the long options
    of derain-train: model, pairs, hours and so on. A line says what each slice did.
    Ctrl-C and SIGTERM save the run at hand; the same command goes on from there.
    """
    from derain.core.interrupts import Interrupts

    with requires("train"):
        from derain.models.allocator import keep_memory
        from derain.training.queue import read_queue, run_queue
    chosen = read_queue(runs)
    keep_memory()
    with Interrupts() as interrupts:
        for line in run_queue(
            chosen, slice_minutes, lambda: interrupts.stopped() is not None
        ):
            click.echo(line)
    if interrupts.received is not None:
        context.exit(128 + interrupts.received)  # as the shell reports a signal


@main.command("publish", cls=Command)
@click.argument("run", type=_PATH)
@click.option(
    "--test",
    required=True,
    type=_PATH,
    help="Folder of test pairs; its clean pictures are the dry ones too.",
)
@click.option("--video", required=True, type=_PATH, help="Frames in pairs.")
@click.option(
    "--trained-on",
    multiple=True,
    required=True,
    help="A data set of the run, in words; once for each.",
)
@click.option(
    "--note", "notes", multiple=True, help="What the record should say besides."
)
@click.option(
    "--every",
    type=COUNT,
    default=1,
    help="Measure on every so many of the pictures only, and say so.",
)
@click.option(
    "--threads", type=Whole(1, 1024), help="Processor threads; the run's by default."
)
@click.option(
    "-o",
    "--output",
    type=_PATH,
    help="Folder of the weights; that of the package by default.",
)
def _publish(
    run: Path,
    test: Path,
    video: Path,
    trained_on: tuple[str, ...],
    notes: tuple[str, ...],
    every: int,
    threads: int | None,
    output: Path | None,
) -> None:
    """Measure the run in the folder RUN and write its weights and their record."""
    with requires("train"):
        from derain.models.allocator import keep_memory
        from derain.training.publish import WEIGHTS, publish
    keep_memory()
    record = publish(
        run,
        test=test,
        video=video,
        trained_on=trained_on,
        notes=notes,
        output=output or WEIGHTS,
        threads=threads,
        every=every,
    )
    click.echo(json.dumps(record["figures"], indent=2))


@main.command("rain", cls=Command)
@click.argument("source", required=False, type=_PATH)
def _rain(source: Path | None) -> None:
    """Print what training rain is drawn from, as a file for --rain.

    With SOURCE, the folder of a run or the record of weights: what its rain was drawn
    from.
    """
    from derain.core.synthetic.mixture import DEFAULT

    if source is None:
        click.echo(DEFAULT.read_text(encoding="utf-8"), nl=False)
        return
    with requires("train"):
        from derain.training.rain_file import rain_of
    click.echo(rain_of(source), nl=False)


@main.command("pack", cls=Command)
@click.option("--pairs", type=_PATH, help="Folder of pairs.")
@click.option("--clean", type=_PATH, help="Photographs.")
@click.option(
    "--not-in",
    multiple=True,
    type=_PATH,
    help="As that of derain-train, which cannot do it for a pack.",
)
@click.option("--side", type=Whole(64, 8192), default=256, show_default=True)
@click.option("--quality", type=Whole(50, 100), default=92, show_default=True)
@click.option(
    "--megabytes", type=Number(0, 10**6), default=60.0, help="Most it may take."
)
@click.option("-o", "--output", default="pack.zip", type=_PATH, help="File.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def _pack(
    pairs: Path | None,
    clean: Path | None,
    not_in: tuple[Path, ...],
    side: int,
    quality: int,
    megabytes: float,
    output: Path,
    force: bool,
) -> None:
    """Pack the middles of pairs and photographs into one file."""
    if pairs is None and clean is None:
        raise click.UsageError("give --pairs, --clean or both")
    require_free(output, force=force)
    with requires("train"):
        from derain.training.pack import pack
    size = pack(
        output,
        pairs=pairs,
        clean=clean,
        not_in=not_in,
        side=side,
        quality=quality,
        megabytes=megabytes,
    )
    click.echo(f"{output}: {size:.1f} MB")


@main.command("look", cls=Command)
@click.argument("folders", nargs=-1, required=True, type=_PATH)
@click.option(
    "--model",
    metavar="MODEL",
    help=f"Derain the pictures with it: {', '.join(MODELS)}, or package.module:Class.",
)
@click.option(
    "--weights",
    type=_PATH,
    help="Its checkpoint; by default the weights that ship with the package.",
)
@click.option(
    "--most",
    type=COUNT,
    help="Pictures per folder.  [default: 12 with --model, else 4]",
)
@click.option(
    "--width", type=Whole(16, 8192), default=320, show_default=True, help="Of each."
)
@click.option("--seed", type=Whole(0, 2**32 - 1), default=0, help="Of the rain.")
@click.option("-o", "--output", default="sheet.png", type=_PATH, help="Sheet.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def _look(
    folders: tuple[Path, ...],
    model: str | None,
    weights: Path | None,
    most: int | None,
    width: int,
    seed: int,
    output: Path,
    force: bool,
) -> None:
    """Draw pictures of FOLDERS on one sheet, for a person to judge.

    With --model, rainy pictures before and after it. Without, photographs in every
    preset of rendered rain, and in rain as for training.
    """
    if weights is not None and model is None:
        raise click.UsageError("--weights needs --model")
    require_free(output, force=force)
    with requires("train"):
        from derain.core.contact_sheet import contact_sheet
        from derain.core.pictures import write_picture
        from derain.training.look import derained_rows, rainy_rows
    if model is None:
        rows = rainy_rows(folders, most or 4, seed)
    else:
        rows = derained_rows(folders, model, weights, most or 12)
    write_picture(output, contact_sheet(rows, width))
    click.echo(output)


if __name__ == "__main__":
    main()
