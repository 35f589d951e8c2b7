"""``python -m derain.training.real_sheet``: real rain, before and after."""

from __future__ import annotations

from pathlib import Path

import click

from derain.core.commands import Command
from derain.core.pictures import read_picture, write_picture
from derain.models.loading import open_network
from derain.models.registry import MODELS
from derain.training.data import Picture, picture_paths
from derain.training.sheets import contact_sheet
from derain.training.validation import DerainPicture, derain_with, in_strips

COLUMNS = 2  # pictures beside each other, each before and after


@click.command(cls=Command)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(list(MODELS)), required=True)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Its checkpoint; by default the weights that ship with the package.",
)
@click.option(
    "--most", type=click.IntRange(1), default=12, show_default=True, help="Per folder."
)
@click.option("--width", type=click.IntRange(16), default=320, show_default=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Sheet."
)
def main(
    folders: tuple[Path, ...],
    model: str,
    weights: Path | None,
    most: int,
    width: int,
    output: Path,
) -> None:
    """Derain pictures of FOLDERS that have no truth, for a person to judge."""
    paths = [path for folder in folders for path in spread(picture_paths(folder), most)]
    loaded = open_network(model, weights=weights)
    derain = in_strips(derain_with(loaded.network, loaded.facts))
    write_picture(output, contact_sheet(before_and_after(derain, paths), width))
    click.echo(output)


def spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of `paths`, evenly from the first to the last."""
    if len(paths) <= most:
        return paths
    return [paths[index * len(paths) // most] for index in range(most)]


def before_and_after(
    derain: DerainPicture, paths: list[Path]
) -> list[list[tuple[str, Picture]]]:
    """Rows for `contact_sheet`: `COLUMNS` pictures, each rainy and derained."""
    rows = []
    for start in range(0, len(paths), COLUMNS):
        row = []
        for path in paths[start : start + COLUMNS]:
            rainy = read_picture(path)
            name = f"{path.parent.name}/{path.name}"
            row += [(name, rainy), ("derained", derain(rainy).copy())]
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
