"""``derain-eval``: PSNR and SSIM on Y of networks and exported bundles."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.core.commands import Command
from derain.core.errors import DerainError
from derain.models.registry import MODELS

WORST = 8  # pictures on the sheet

if TYPE_CHECKING:
    from derain.core.pairs import Pair
    from derain.training.validation import DerainPicture, Result


@click.command(cls=Command)
@click.option("--model", type=click.Choice(list(MODELS)), help="Measure this network.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Its checkpoint, or the folder of a training run; by default those that "
    "ship with the package.",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Measure this bundle; may be given again.",
)
@click.option("--backend", default="onnxruntime", show_default=True)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="Folder of files, left half clean, right half rainy; or with folders rain "
    "and clean.",
)
@click.option("--rainy", type=click.Path(path_type=Path), help="Rainy pictures and ...")
@click.option("--clean", type=click.Path(path_type=Path), help="... the same without.")
@click.option("--dry", is_flag=True, help="Derain the clean pictures instead.")
@click.option("--every", type=click.IntRange(1), default=1, help="Of so many, one.")
@click.option("--threads", type=click.IntRange(0), default=0, help="0: one a core.")
@click.option("--each", is_flag=True, help="Print every picture's figures too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--worst",
    type=click.Path(path_type=Path),
    help="Write a contact sheet of the worst pictures here.",
)
def main(
    model: str | None,
    weights: Path | None,
    bundles: tuple[Path, ...],
    backend: str,
    pairs: Path | None,
    rainy: Path | None,
    clean: Path | None,
    dry: bool,
    every: int,
    threads: int,
    each: bool,
    as_json: bool,
    worst: Path | None,
) -> None:
    """Derain pairs of pictures and print PSNR and SSIM on Y."""
    if model is None and not bundles:
        raise click.UsageError("give --model, --bundle or both")
    if weights is not None and model is None:
        raise click.UsageError("--weights needs --model")
    if (pairs is None) == (rainy is None or clean is None):
        raise click.UsageError("give --pairs, or --rainy and --clean")

    from derain.models.allocator import keep_memory
    from derain.training.validation import dry_summary, in_strips, summary

    keep_memory()
    source = _source(pairs, rainy, clean, dry=dry, every=every)
    report: dict[str, Any] = {}
    for name, opened in _subjects(model, weights, bundles, backend, threads):
        with opened as derain:
            derain_all = in_strips(derain)
            results = _measure(derain_all, source(), name)
            if worst is not None:
                _write_worst(worst, derain_all, results, source())
                worst = None  # of the first subject
        figures = dry_summary(results) if dry else summary(results)
        report[name] = figures | {"each": [_row(result) for result in results]}
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_table(report, each=each, dry=dry)


def _source(
    pairs: Path | None, rainy: Path | None, clean: Path | None, *, dry: bool, every: int
) -> Callable[[], Iterator[Pair]]:
    from itertools import islice

    from derain.core import pairs as pair_files
    from derain.training.data import dry as without_rain

    def read() -> Iterator[Pair]:
        if pairs is not None:
            found = pair_files.open_pairs(pairs)
        else:
            assert rainy is not None
            assert clean is not None
            found = pair_files.two_folders(rainy, clean)
        chosen = islice(found, 0, None, every)
        return without_rain(chosen) if dry else chosen

    return read


def _subjects(
    model: str | None,
    weights: Path | None,
    bundles: tuple[Path, ...],
    backend: str,
    threads: int,
) -> Iterator[tuple[str, contextlib.AbstractContextManager[DerainPicture]]]:
    if model is not None:
        name = f"{model}, PyTorch"
        yield name, contextlib.nullcontext(_network(model, weights, threads))
    for folder in bundles:
        yield str(folder), _bundle(folder, backend, threads)


def _network(model: str, weights: Path | None, threads: int) -> DerainPicture:
    import torch

    from derain.models.loading import open_network
    from derain.training.run_folder import STATE, load_average
    from derain.training.validation import derain_with

    if threads:
        torch.set_num_threads(threads)
    if weights is not None and (weights / STATE).is_file():
        network = load_average(model, weights)
        return derain_with(network, MODELS[model].facts)
    loaded = open_network(model, weights=weights)
    return derain_with(loaded.network, loaded.facts)


@contextlib.contextmanager
def _bundle(folder: Path, backend: str, threads: int) -> Iterator[DerainPicture]:
    from derain.core.bundle import Bundle
    from derain.runtime.derainer import Derainer

    bundle = Bundle.open(folder)
    with contextlib.closing(Derainer(bundle, backend, threads)) as derainer:
        yield derainer.derain


def _measure(derain: DerainPicture, pairs: Iterator[Pair], name: str) -> list[Result]:
    from derain.training.validation import score_pairs

    results = score_pairs(derain, pairs)
    if not results:
        raise DerainError(f"{name}: there are no pairs to measure on")
    return results


def _row(result: Result) -> dict[str, Any]:
    from derain.training.validation import finite

    return {
        "name": result.name,
        "psnr_db": finite(result.score.psnr_db),
        "ssim": round(result.score.ssim, 4),
        "rainy_psnr_db": finite(result.rainy.psnr_db),
    }


def _print_table(report: dict[str, Any], *, each: bool, dry: bool) -> None:
    head = ("mean PSNR", "least PSNR") if dry else ("PSNR", "SSIM")
    click.echo(f"{head[0]:>10}  {head[1]:>10}  {'pictures':>8}")
    for index, (name, figures) in enumerate(report.items()):
        if dry:
            means = _db(figures["mean_psnr_db"]), _db(figures["least_psnr_db"])
        else:
            before = figures["rainy"]
            if index == 0:
                _print_row(_db(before["psnr_db"]), f"{before['ssim']:.4f}", "", "rainy")
            means = _db(figures["psnr_db"]), f"{figures['ssim']:.4f}"
        _print_row(*means, str(figures["pictures"]), name)
        for row in figures["each"] if each else ():
            _print_row(_db(row["psnr_db"]), f"{row['ssim']:.4f}", "", row["name"])


def _print_row(first: str, second: str, third: str, name: str) -> None:
    click.echo(f"{first:>10}  {second:>10}  {third:>8}  {name}")


def _db(value: float | None) -> str:
    return "equal" if value is None else f"{value:.2f} dB"


def _write_worst(
    path: Path, derain: DerainPicture, results: list[Result], pairs: Iterator[Pair]
) -> None:
    """Write the pictures that gained least: rainy, derained, clean."""
    from derain.core.pictures import write_picture
    from derain.training.sheets import contact_sheet
    from derain.training.validation import finite

    def gain(result: Result) -> float:
        dry = math.isinf(result.rainy.psnr_db)
        return result.score.psnr_db - (0.0 if dry else result.rainy.psnr_db)

    chosen = {result.name: result for result in sorted(results, key=gain)[:WORST]}
    rows = []
    for pair in pairs:
        if (result := chosen.get(pair.name)) is not None:
            before, after = result.rainy.psnr_db, result.score.psnr_db
            rows.append(
                [
                    (f"{pair.name}: {_db(finite(before))}", pair.rainy),
                    (_db(finite(after)), derain(pair.rainy).copy()),
                    ("clean", pair.clean),
                ]
            )
    write_picture(path, contact_sheet(rows))


if __name__ == "__main__":
    main()
