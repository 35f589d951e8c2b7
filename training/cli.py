"""``derain-train``: train a network on pairs and on rendered rain."""

from __future__ import annotations

from pathlib import Path

import click

from derain.core.commands import Command
from derain.models.registry import MODELS

NAMES = [name for name in MODELS if name != "nledn"]  # that one is not trained here


@click.command(cls=Command)
@click.option("--model", required=True, type=click.Choice(NAMES), help="The network.")
@click.option(
    "--pairs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of files, left half clean, right half rainy; or with folders rain "
    "and clean. May be repeated: each folder gives as many crops as another.",
)
@click.option(
    "--clean",
    type=click.Path(path_type=Path),
    help="Folder of photographs to render rain on.",
)
@click.option(
    "--not-in",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder that is measured on later: photographs and pairs that show a scene "
    "in it, of pictures or of pairs, are left out. May be repeated.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint to start from, in place of new weights: a state dict of the "
    "network, such as the file that derain.training.publish makes of a run.",
)
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Time to take.")
@click.option("--steps", type=click.IntRange(1), help="Steps to take, instead.")
@click.option("--batch", type=click.IntRange(1), help="Crops a step.")
@click.option("--crop", type=click.IntRange(16), help="Size of a crop, in pixels.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--rendered", type=click.FloatRange(0, 1), help="Part of rendered rain.")
@click.option("--dry", type=click.FloatRange(0, 1), help="Part of dry pictures.")
@click.option(
    "--vgg",
    type=click.Path(path_type=Path),
    help="torchvision's vgg16 checkpoint, for the loss of stagewise.",
)
@click.option("--bf16/--fp32", default=None, help="Precision of the forward pass.")
@click.option(
    "--channels-last/--channels-first", default=None, help="Memory layout of networks."
)
@click.option("--compile/--eager", "compiled", default=None, help="torch.compile.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads.")
@click.option("--seed", type=click.IntRange(0), help="Of weights and batches.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the run; runs/MODEL by default. A run in it is resumed.",
)
def main(
    model: str,
    pairs: tuple[Path, ...],
    clean: Path | None,
    not_in: tuple[Path, ...],
    weights: Path | None,
    hours: float | None,
    steps: int | None,
    batch: int | None,
    crop: int | None,
    learning_rate: float | None,
    rendered: float | None,
    dry: float | None,
    vgg: Path | None,
    bf16: bool | None,
    channels_last: bool | None,
    compiled: bool | None,
    threads: int | None,
    seed: int | None,
    output: Path | None,
) -> None:
    """Train a network, or go on with the run that is in the output folder.

    `python -m derain.training.publish RUN` makes weights of a run: one file, in
    float16 where that keeps every PSNR to 0.01 dB, and a JSON record, which holds the
    command of the run. There PAIRS (PAIRS1, PAIRS2, ...) stands for the folders after
    --pairs, PHOTOGRAPHS for that after --clean, WEIGHTS for the file that ship made of
    the run before, the last of "earlier_runs", and VGG16 for the checkpoint after
    --vgg; a folder after --not-in goes by the last two parts of its path.
    """
    if hours is not None and steps is not None:
        raise click.UsageError("give --hours or --steps, not both")
    if vgg is not None and model != "stagewise":
        raise click.UsageError("--vgg is for --model stagewise")
    from derain.models.allocator import keep_memory
    from derain.training.config import config_for, with_changes
    from derain.training.data import Mixture
    from derain.training.run import checkpoint_hash, train

    config = config_for(model)
    try:
        mixture = Mixture(
            rendered=config.mixture.rendered if rendered is None else rendered,
            dry=config.mixture.dry if dry is None else dry,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    config = with_changes(
        config,
        first_weights=checkpoint_hash(weights) if weights else "",
        pair_sets=len(pairs),
        photographs=clean is not None,
        hours=hours,
        steps=steps,
        # Not whole: a record must not hold the paths of the machine it was made on.
        not_in=tuple("/".join(place.resolve().parts[1:][-2:]) for place in not_in),
        batch=batch,
        crop=crop,
        learning_rate=learning_rate,
        mixture=mixture,
        vgg=vgg is not None,
        bf16=bf16,
        channels_last=channels_last,
        compile=compiled,
        threads=threads,
        seed=seed,
    )
    folder = output or Path("runs") / model
    keep_memory()
    train(
        config,
        pairs,
        clean,
        folder,
        lambda line: click.echo(line, err=True),
        not_in=not_in,
        weights=weights,
        vgg=vgg,
    )
    click.echo(folder)


if __name__ == "__main__":
    main()
