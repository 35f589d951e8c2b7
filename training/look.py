"""Sheets for a person to judge: rendered rain, and real rain before and after.

The work of ``derain-train look``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from derain.core.pairs import Picture
from derain.core.pictures import picture_paths, read_picture
from derain.core.synthetic.mixture import RainMixture, read_mixture
from derain.core.synthetic.rain import LINES, PRESETS, render_rain
from derain.models.loading import open_network
from derain.models.video_stream import VideoStream
from derain.training.data import rained_on
from derain.training.validation import derain_with, in_strips

REMEMBERED = 3
COLUMNS = 2  # pictures beside each other, each before and after

Row = list[tuple[str, Picture]]  # captions and pictures, for `contact_sheet`


def derained_rows(
    folders: Sequence[Path], model: str, weights: Path | None, most: int
) -> list[Row]:
    """Pictures without truth, each before and after a network.

    One with a memory sees the `REMEMBERED` pictures before each in its folder, too.

    Args:
        folders: Of pictures.
        model: A name in the registry, or ``package.module:Class``.
        weights: Its checkpoint; None takes those that ship with the package.
        most: Pictures of each folder, from its first to its last.

    Raises:
        DerainError: The network, its weights or a picture cannot be read.
    """
    paths = _of_each(folders, most)
    loaded = open_network(model, weights=weights)
    if loaded.video is None:
        derain = in_strips(derain_with(loaded.network, loaded.facts))
        return before_and_after(lambda path, rainy: derain(rainy), paths)
    video = loaded.video

    def derain_in_order(path: Path, rainy: Picture) -> Picture:
        stream, siblings = VideoStream(video), picture_paths(path.parent)
        at = siblings.index(path)
        for before in siblings[max(at - REMEMBERED, 0) : at]:
            stream.derain(read_picture(before))
        return stream.derain(rainy)

    return before_and_after(derain_in_order, paths)


def rainy_rows(folders: Sequence[Path], most: int, seed: int) -> list[Row]:
    """Photographs in every preset of rendered rain, and in rain as for training.

    Raises:
        MediaError: A picture cannot be read.
    """
    return [
        rain_row(read_picture(path), seed + index)
        for index, path in enumerate(_of_each(folders, most))
    ]


def _of_each(folders: Sequence[Path], most: int) -> list[Path]:
    return [path for folder in folders for path in spread(picture_paths(folder), most)]


def spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of `paths`, evenly from the first to the last."""
    if len(paths) <= most:
        return paths
    return [paths[index * len(paths) // most] for index in range(most)]


def rain_row(clean: Picture, seed: int) -> Row:
    """`clean`, then the same in each preset and in two rains as for training."""
    factor = clean.shape[0] / LINES
    row = [("clean", clean)]
    for name, settings in PRESETS.items():
        row.append((name, render_rain(clean, settings.scaled(factor), seed)))
    random = np.random.default_rng(seed)
    mixture = RainMixture.parse(read_mixture(), "the mixture")
    for number in (1, 2):
        rainy, _ = rained_on(clean, mixture, random)
        row.append((f"for training, {number}", rainy))
    return row


def before_and_after(
    derain: Callable[[Path, Picture], Picture], paths: list[Path]
) -> list[Row]:
    """Rows of `COLUMNS` pictures, each rainy and derained."""
    rows = []
    for start in range(0, len(paths), COLUMNS):
        row: Row = []
        for path in paths[start : start + COLUMNS]:
            rainy = read_picture(path)
            name = f"{path.parent.name}/{path.name}"
            row += [(name, rainy), ("derained", derain(path, rainy).copy())]
        rows.append(row)
    return rows
