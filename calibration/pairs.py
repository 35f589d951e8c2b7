"""Pairs of pictures to measure on: in the rain, and the same without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from derain.calibration.frame_store import fit
from derain.calibration.scoring import HeldOut
from derain.core.errors import MediaError
from derain.core.pictures import SUFFIXES, read_picture
from derain.core.sizes import Size

PAIRS = 16  # measured at most, taken evenly

Picture = NDArray[np.uint8]


def read_pairs(folder: Path) -> list[tuple[Picture, Picture]]:
    """Up to `PAIRS` rainy and clean pictures, evenly taken from `folder`.

    Args:
        folder: Files whose left half is clean and whose right half is rainy, or folders
            ``rain`` and ``clean`` with pictures of the same names.

    Returns:
        Rainy and clean pictures, each `(H, W, 3)` uint8 BGR.

    Raises:
        MediaError: There are none, one cannot be read, or two differ in size.
    """
    rainy, clean = folder / "rain", folder / "clean"
    if rainy.is_dir() and clean.is_dir():
        wanted = {path.stem: path for path in _pictures(clean)}
        return [_two(path, wanted) for path in _evenly(_pictures(rainy))]
    return [_halves(path) for path in _evenly(_pictures(folder))]


def read_held_out(folder: Path, size: Size) -> list[HeldOut]:
    """The pairs in `folder` as a `Scorer` wants them, fitted to `size`.

    Raises:
        MediaError: See `read_pairs`.
    """
    return [
        HeldOut(
            fit(rainy, size),
            fit(clean, size),
            min(rainy.shape[0], size.height),
            min(rainy.shape[1], size.width),
        )
        for rainy, clean in read_pairs(folder)
    ]


def _two(path: Path, wanted: dict[str, Path]) -> tuple[Picture, Picture]:
    if path.stem not in wanted:
        raise MediaError(f"{path} has no clean picture of its name")
    rainy, clean = read_picture(path), read_picture(wanted[path.stem])
    if rainy.shape != clean.shape:
        raise MediaError(
            f"{path} is {rainy.shape[1]}x{rainy.shape[0]}, its clean picture "
            f"{clean.shape[1]}x{clean.shape[0]}"
        )
    return rainy, clean


def _halves(path: Path) -> tuple[Picture, Picture]:
    both = read_picture(path)
    half = both.shape[1] // 2
    if half < 1:
        raise MediaError(f"{path} is one pixel wide: not a clean and a rainy half")
    return both[:, half : 2 * half], both[:, :half]


def _evenly(paths: list[Path]) -> list[Path]:
    return paths[:: -(-len(paths) // PAIRS)]


def _pictures(folder: Path) -> list[Path]:
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise MediaError(f"{folder} cannot be read: {error.strerror}") from error
    if not paths:
        raise MediaError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return paths
