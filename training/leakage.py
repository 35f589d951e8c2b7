"""Which pictures show a scene that is measured on: such must not be trained on.

Data sets share photographs under other names: Rain800's rainy test pictures and many
collections of clean ones come from BSDS500. Scenes are told apart by grey thumbnails,
which neither rain, nor a change of tone or size, nor JPEG alters much. A crop, or a
mirrored or turned copy, is not recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.pairs import Picture
from derain.core.pictures import picture_paths, read_picture

SIDE = 24  # pixels of a thumbnail
# Correlation of two thumbnails. Of 409 BSDS500 photographs and 687 Rain800 training
# pairs with the 99 Rain800 test pictures and 168 frames of NTURain's a1: the same scene
# at least 0.9997 (0.962 where the test picture is in the rain), another at most 0.892.
SAME = 0.95


class Scenes:
    """The scenes in some folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Look at every picture once; only thumbnails are kept.

        Args:
            folders: Of pictures, of files with a clean left and a rainy right half, or
                with folders ``rain`` and ``clean``.

        Raises:
            MediaError: A folder cannot be read or holds no pictures.
        """
        found = [thumbnail(x) for folder in folders for x in _pictures(folder)]
        self._known = np.array(found, np.float32).reshape(-1, SIDE * SIDE)

    def hold(self, picture: Picture) -> bool:
        """Whether `picture`, `(H, W, 3)` uint8 BGR of any size, shows one of them."""
        return bool((self._known @ thumbnail(picture) > SAME).any())


def thumbnail(picture: Picture) -> NDArray[np.float32]:
    """`picture` as a vector of mean 0 and length 1; zeros if it is of one grey."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length else grey


def _pictures(folder: Path) -> Iterator[Picture]:
    if (folder / "rain").is_dir() and (folder / "clean").is_dir():
        yield from map(read_picture, picture_paths(folder / "clean"))
        return
    for picture in map(read_picture, picture_paths(folder)):
        yield picture
        # A pair side by side looks like any wide picture: its clean half counts too.
        if picture.shape[1] > 1:
            yield picture[:, : picture.shape[1] // 2]
