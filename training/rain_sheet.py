"""``python -m derain.training.rain_sheet``: rendered rain, to look at."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from derain.core.commands import Command
from derain.core.pictures import read_picture, write_picture
from derain.core.synthetic.rain import LINES, PRESETS, render_rain
from derain.training.data import Picture, picture_paths, random_rain
from derain.training.sheets import contact_sheet


@click.command(cls=Command)
@click.argument("photographs", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), default=4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "-o", "--output", default="rain.png", type=click.Path(path_type=Path), help="Sheet."
)
def main(photographs: Path, count: int, seed: int, output: Path) -> None:
    """Draw some of the PHOTOGRAPHS in every preset, and in rain as for training."""
    paths = picture_paths(photographs)
    chosen = paths[:: max(len(paths) // count, 1)][:count]
    rows = [
        rain_row(read_picture(path), seed + index) for index, path in enumerate(chosen)
    ]
    write_picture(output, contact_sheet(rows))
    click.echo(output)


def rain_row(clean: Picture, seed: int) -> list[tuple[str, Picture]]:
    """`clean`, then the same in each preset and in two rains as for training."""
    factor = clean.shape[0] / LINES
    row = [("clean", clean)]
    for name, settings in PRESETS.items():
        row.append((name, render_rain(clean, settings.scaled(factor), seed)))
    random = np.random.default_rng(seed)
    for number in (1, 2):
        rainy = render_rain(clean, random_rain(random), seed + number)
        row.append((f"for training, {number}", rainy))
    return row


if __name__ == "__main__":
    main()
