"""The frames an export is verified on: real photographs, in rain, at the right size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.errors import MediaError
from derain.core.pictures import SUFFIXES, read_picture
from derain.core.sizes import Size
from derain.core.synthetic.rain import PRESETS, render_rain

_PHOTOS = Path(__file__).resolve().parent / "photos"
_RAIN = ("moderate", "light", "heavy")


def verification_frames(
    size: Size, count: int, source: Path | None = None
) -> list[NDArray[np.uint8]]:
    """`count` rainy frames of `size`.

    Args:
        size: Size of every frame; a picture is scaled to cover it and cropped.
        count: How many; pictures are used again where there are fewer.
        source: A picture or a folder of pictures that are rainy already. None takes
            photographs that ship with the package and renders rain on them.

    Returns:
        Frames, each `(H, W, 3)` uint8 BGR, the same on every call.

    Raises:
        MediaError: `source` has no picture, or one cannot be read.
    """
    paths = _pictures(_PHOTOS if source is None else source)
    frames = []
    for k in range(count):
        frame = _cover(read_picture(paths[k % len(paths)]), size)
        if source is None:
            settings = PRESETS[_RAIN[k % len(_RAIN)]]
            frame = render_rain(frame, settings, seed=k)
        frames.append(frame)
    return frames


def _pictures(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise MediaError(f"{source} does not exist; wanted a picture or a folder")
    paths = sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise MediaError(
            f"{source} has no pictures; wanted files of type "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return paths


def _cover(picture: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Scale `picture` until it covers `size`, and cut out the middle."""
    height, width = picture.shape[:2]
    scale = max(size.width / width, size.height / height)
    wide = max(size.width, round(width * scale))
    high = max(size.height, round(height * scale))
    shrinks = scale < 1
    scaled = cv2.resize(
        picture,
        (wide, high),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )
    left, top = (wide - size.width) // 2, (high - size.height) // 2
    return np.ascontiguousarray(
        scaled[top : top + size.height, left : left + size.width], dtype=np.uint8
    )
