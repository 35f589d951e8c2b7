"""Is our rain like theirs? Streaks measured in rainy pictures and in rendered ones.

    python -m derain.training.streak_statistics RAINY... --rendered-on PHOTOGRAPHS

prints, for each folder of rainy pictures, quantiles of the width, length, angle and
brightness of what looks like streaks, and the same for PHOTOGRAPHS as they are (what a
scene has of such things without rain) and in rain drawn from a mixture; ``--plot``
draws the histograms. The truth is not needed, so that real rain can be measured; all
are measured in the same way, scaled to 480 lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from derain.core.atomic_files import write_bytes
from derain.core.commands import Command
from derain.core.metrics import luma
from derain.core.pairs import Picture
from derain.core.pictures import picture_paths, read_picture
from derain.core.synthetic.mixture import DEFAULT, RainMixture, read_mixture
from derain.core.synthetic.rain import LINES
from derain.training.data import rained_on
from derain.training.look import spread

QUANTITIES = ("width, px", "length, px", "angle, degrees", "brightness, levels")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_REACH = 11  # pixels: a streak is narrower, seen along a line of the picture
_LEAST_LEVELS = 10.0  # that a streak is brighter than what is beside it
_LEAST_AREA, _LEAST_ELONGATION = 6, 3.0  # what is smaller or rounder is no streak
_MOST_ANGLE = 45.0  # degrees from the vertical: beyond it the filter sees nothing

Streaks = NDArray[np.float64]  # (N, 4), a column for each of QUANTITIES


def streaks(picture: Picture) -> Streaks:
    """What looks like streaks in a picture of 480 lines, `(H, W, 3)` uint8 BGR."""
    grey = luma(picture).astype(np.float32)
    beside = cv2.morphologyEx(grey, cv2.MORPH_OPEN, np.ones((1, _REACH), np.uint8))
    light = grey - beside.astype(np.float32)
    mask = (light > _LEAST_LEVELS).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    found = []
    for label in range(1, count):
        x, y, wide, high, area = (int(value) for value in stats[label])
        if area < _LEAST_AREA:
            continue
        box = np.s_[y : y + high, x : x + wide]
        rows, columns = np.nonzero(labels[box] == label)
        spread_of = np.cov(np.stack([columns, rows]), bias=True) + np.eye(2) / 12
        values, axes = np.linalg.eigh(spread_of)
        width, length = np.sqrt(12 * values)
        along = axes[:, 1] * (1 if axes[1, 1] >= 0 else -1)
        angle = float(np.degrees(np.arctan2(along[0], along[1])))
        if length >= _LEAST_ELONGATION * width and abs(angle) <= _MOST_ANGLE:
            brightness = float(light[box][rows, columns].max())
            found.append((width, length, angle, brightness))
    return np.array(found, np.float64).reshape(-1, len(QUANTITIES))


def _at_480_lines(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    size = (max(round(width * LINES / height), _REACH), LINES)
    method = cv2.INTER_AREA if height > LINES else cv2.INTER_LINEAR
    scaled: Picture = cv2.resize(picture, size, interpolation=method)  # type: ignore[assignment]
    return scaled


def _rainy_halves(place: Path, most: int) -> Iterator[Picture]:
    """Rainy pictures; of pairs side by side, which are as wide as two, the right."""
    for path in spread(picture_paths(place), most):
        picture = read_picture(path)
        height, width = picture.shape[:2]
        yield picture[:, width // 2 :] if width > 2.2 * height else picture


def _rendered(
    photographs: Iterable[Picture], mixture: RainMixture
) -> Iterator[Picture]:
    for seed, picture in enumerate(photographs):
        random = np.random.default_rng(seed)
        yield rained_on(np.ascontiguousarray(picture), mixture, random)[0]


def measured(pictures: Iterable[Picture]) -> tuple[int, Streaks]:
    """How many pictures there are, and the streaks in all of them."""
    each = [streaks(_at_480_lines(picture)) for picture in pictures]
    return len(each), np.concatenate(each) if each else np.empty((0, len(QUANTITIES)))


def table(sources: dict[str, tuple[int, Streaks]]) -> str:
    """Quantiles, a block of lines for each quantity."""
    names = [f"{round(100 * q)} %" for q in QUANTILES]
    wide = max(map(len, sources))
    lines = []
    for column, quantity in enumerate(QUANTITIES):
        lines.append(f"{quantity:<{wide}} " + "".join(f"{x:>8}" for x in names))
        for name, (count, found) in sources.items():
            cells = [f"{'-':>8}"] * len(QUANTILES)
            if len(found):
                values = np.quantile(found[:, column], QUANTILES)
                cells = [f"{value:8.1f}" for value in values]
            a_picture = f"  {len(found) / max(count, 1):.0f} a picture"
            lines.append(f"{name:<{wide}} " + "".join(cells) + a_picture * (not column))
    return "\n".join(lines)


def plot(sources: dict[str, tuple[int, Streaks]], path: Path) -> None:
    """Histograms as lines, a panel for each quantity."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    limits = ((0, 8), (0, 120), (-45, 45), (0, 150))
    for axes, quantity, limit, column in zip(
        figure.subplots(2, 2).flat, QUANTITIES, limits, range(4), strict=True
    ):
        for name, (_, found) in sources.items():
            part, edges = np.histogram(found[:, column], 40, limit)
            axes.stairs(part / max(len(found), 1), edges, label=name)
        axes.set_xlabel(quantity)
        axes.set_ylabel("part of the streaks")
    figure.axes[0].legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())


@click.command(cls=Command)
@click.argument("rainy", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--rendered-on", type=click.Path(path_type=Path), help="Folder of photographs."
)
@click.option(
    "--rain",
    default=DEFAULT,
    type=click.Path(path_type=Path),
    help="The mixture, as derain-train --rain takes it.",
)
@click.option(
    "--most", default=60, type=click.IntRange(1), help="Pictures of a folder."
)
@click.option("--plot", "drawn", type=click.Path(path_type=Path), help="PNG to draw.")
def main(
    rainy: tuple[Path, ...],
    rendered_on: Path | None,
    rain: Path,
    most: int,
    drawn: Path | None,
) -> None:
    """Measure streaks in the folders RAINY, and in rendered rain."""
    sources = {
        "/".join(place.parts[-2:]): measured(_rainy_halves(place, most))
        for place in rainy
    }
    if rendered_on is not None:
        paths = spread(picture_paths(rendered_on), most)
        photographs = [_at_480_lines(read_picture(path)) for path in paths]
        mixture = RainMixture.parse(read_mixture(rain), str(rain))
        sources["rendered"] = measured(_rendered(photographs, mixture))
        sources["photographs, dry"] = measured(photographs)
    if not sources:
        raise click.UsageError("give folders of rainy pictures, or --rendered-on")
    click.echo(table(sources))
    if drawn is not None:
        plot(sources, drawn)


if __name__ == "__main__":
    main()
