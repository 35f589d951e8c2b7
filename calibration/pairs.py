"""Pairs of pictures to measure on: in the rain, and the same without."""

from __future__ import annotations

from pathlib import Path

from derain.calibration.frame_store import fit
from derain.calibration.scoring import HeldOut
from derain.core.pairs import open_pairs
from derain.core.sizes import Size

PAIRS = 16  # measured at most, taken evenly


def read_held_out(folder: Path, size: Size) -> list[HeldOut]:
    """Up to `PAIRS` pairs of `folder` as a `Scorer` wants them, fitted to `size`.

    Raises:
        MediaError: See `open_pairs`.
        ShapeError: See `open_pairs`.
    """
    return [
        HeldOut(
            fit(pair.rainy, size),
            fit(pair.clean, size),
            min(pair.rainy.shape[0], size.height),
            min(pair.rainy.shape[1], size.width),
        )
        for pair in open_pairs(folder, PAIRS)
    ]
