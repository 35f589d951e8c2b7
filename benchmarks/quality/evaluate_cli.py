"""``derain-eval``: PSNR and SSIM on Y of networks and exported bundles."""

from __future__ import annotations

import json
from pathlib import Path

import click

from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.commands import Command
from derain.core.lazy import requires
from derain.core.options import options_from
from derain.models.registry import MODELS


@click.command(cls=Command)
@click.option("--model", type=click.Choice(list(MODELS)), help="Measure this network.")
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Measure this bundle; may be given again.",
)
@options_from(EvaluateOptions)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="Folder of files, left half clean, right half rainy; or with folders rain "
    "and clean.",
)
@click.option("--rainy", type=click.Path(path_type=Path), help="Rainy pictures and ...")
@click.option("--clean", type=click.Path(path_type=Path), help="... the same without.")
@click.option("--each", is_flag=True, help="Print every picture's figures too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--worst",
    type=click.Path(path_type=Path),
    help="Write a contact sheet of the worst pictures here.",
)
@click.option("--force", is_flag=True, help="Replace a file at --worst.")
def main(
    model: str | None,
    bundles: tuple[Path, ...],
    options: EvaluateOptions,
    pairs: Path | None,
    rainy: Path | None,
    clean: Path | None,
    each: bool,
    as_json: bool,
    worst: Path | None,
    force: bool,
) -> None:
    """Derain pairs of pictures and print PSNR and SSIM on Y."""
    if model is None and not bundles:
        raise click.UsageError("give --model, --bundle or both")
    if options.weights is not None and model is None:
        raise click.UsageError("--weights needs --model")
    if (pairs is None) == (rainy is None or clean is None):
        raise click.UsageError("give --pairs, or --rainy and --clean")

    with requires("export"):
        from derain.benchmarks.quality.evaluate import measure_quality

    evaluated: list[str | Path] = [*([model] if model else []), *bundles]
    source = pairs or (rainy, clean)
    evaluation = measure_quality(
        evaluated,
        source,  # type: ignore[arg-type]
        options,
        worst,
        force=force,
    )
    if as_json:
        click.echo(json.dumps(evaluation.figures(), indent=2))
    else:
        click.echo(evaluation.table(each=each))


if __name__ == "__main__":
    main()
