"""``derain-eval``: how good networks and bundles are, on pictures and on clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.commands import Command
from derain.core.lazy import requires
from derain.core.options import options_from
from derain.models.registry import MODELS

if TYPE_CHECKING:
    from derain.benchmarks.quality.clip_evaluation import ClipEvaluation
    from derain.benchmarks.quality.derainers import Evaluated
    from derain.benchmarks.quality.evaluate import Evaluation


_EPILOG = """\b
Examples:
  derain-eval --model qsnet --bundle qsnet-fp16-dynamic --pairs rain800/test
  derain-eval --model mynets.video:Net --multiple-of 2 --weights best.pth --clips a1
  derain-eval --bundle net-int8-640x480 --clips clean-clips --add-rain heavy --every 4
"""


@click.command(cls=Command, epilog=_EPILOG)
@click.option(
    "--model",
    "models",
    multiple=True,
    help=f"Measure this network: {', '.join(MODELS)} or package.module:Class; may be "
    "given again.",
)
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
@click.option(
    "--clips",
    type=click.Path(path_type=Path),
    help="Folder with folders rain and clean of a clip's frames, or of such folders; "
    "what moves is measured, too.",
)
@click.option("--each", is_flag=True, help="Print every picture's or clip's figures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--worst",
    type=click.Path(path_type=Path),
    help="Write a contact sheet of the worst pictures here.",
)
@click.option("--force", is_flag=True, help="Replace a file at --worst.")
def main(
    models: tuple[str, ...],
    bundles: tuple[Path, ...],
    options: EvaluateOptions,
    pairs: Path | None,
    rainy: Path | None,
    clean: Path | None,
    clips: Path | None,
    each: bool,
    as_json: bool,
    worst: Path | None,
    force: bool,
) -> None:
    """Derain pairs of pictures or clips; print PSNR and SSIM on Y.

    In a clip, networks with a memory remember, and the table says how good the first
    frame and the steady state are, how much the gain drifts, how much flickers of what
    stands still, and the warping error: how far frames are from the one before, moved
    along the optical flow of the clean clip. Every picture begins anew.
    """
    if not models and not bundles:
        raise click.UsageError("give --model, --bundle or both")
    if options.weights is not None and not models:
        raise click.UsageError("--weights needs --model")
    given = [pairs is not None, rainy is not None or clean is not None]
    given += [clips is not None]
    if sum(given) != 1 or (rainy is None) != (clean is None):
        raise click.UsageError("give --pairs, --rainy and --clean, or --clips")
    if clips is not None and worst is not None:
        raise click.UsageError("--worst is for pictures, not for --clips")
    if clips is None and options.add_rain:
        raise click.UsageError("--add-rain needs --clips")

    with requires("export"):
        from derain.benchmarks.quality.clip_evaluation import measure_clips
        from derain.benchmarks.quality.evaluate import measure_quality

    evaluated: list[Evaluated] = [*models, *bundles]
    evaluation: Evaluation | ClipEvaluation
    if clips is not None:
        evaluation = measure_clips(evaluated, clips, options)
    else:
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
