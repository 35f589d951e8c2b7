"""Pairs of pictures in a folder: in the rain, and the same without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import MediaError, ShapeError
from derain.core.pictures import picture_paths, read_picture

Picture = NDArray[np.uint8]  # (H, W, 3) BGR


class Pair(NamedTuple):
    """A picture in the rain and the same without; both `(H, W, 3)` uint8 BGR."""

    name: str
    rainy: Picture
    clean: Picture


def open_pairs(folder: Path, most: int | None = None) -> Iterator[Pair]:
    """The pairs in `folder`, each read when it is asked for.

    Args:
        folder: Files whose left half is clean and whose right half is rainy, or folders
            ``rain`` and ``clean`` with pictures of the same names but for the suffix.
        most: How many pairs at most, spread evenly over the folder; None: all.

    Raises:
        MediaError: There are none, one cannot be read, or has no clean picture.
        ShapeError: The two of a pair are of different sizes.
    """
    rainy, clean = folder / "rain", folder / "clean"
    if rainy.is_dir() and clean.is_dir():
        return two_folders(rainy, clean, most)
    return (_halves(path) for path in _evenly(picture_paths(folder), most))


def two_folders(rainy: Path, clean: Path, most: int | None = None) -> Iterator[Pair]:
    """Pairs of the pictures that have one name, but for the suffix, in two folders.

    `most` and errors are those of `open_pairs`.
    """
    wanted = {path.stem: path for path in picture_paths(clean)}
    paths = _evenly(picture_paths(rainy), most)
    return (_two(path, wanted, clean) for path in paths)


def _evenly(paths: Sequence[Path], most: int | None) -> list[Path]:
    count = len(paths) if most is None else min(most, len(paths))
    return [paths[k * len(paths) // count] for k in range(count)]


def _two(path: Path, wanted: dict[str, Path], clean: Path) -> Pair:
    if path.stem not in wanted:
        raise MediaError(f"{path} has no picture of its name in {clean}")
    pair = Pair(path.stem, read_picture(path), read_picture(wanted[path.stem]))
    (height, width), (high, wide) = pair.rainy.shape[:2], pair.clean.shape[:2]
    if (height, width) != (high, wide):
        raise ShapeError(f"{path} is {width}x{height}, its clean picture {wide}x{high}")
    return pair


def _halves(path: Path) -> Pair:
    both = read_picture(path)
    half = both.shape[1] // 2
    if half < 1:
        raise MediaError(f"{path} is one pixel wide: not a clean and a rainy half")
    return Pair(path.stem, both[:, half : 2 * half], both[:, :half])
