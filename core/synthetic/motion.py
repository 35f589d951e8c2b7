"""A photograph under a moving camera: clean clips where there are none.

And `with_confusers`: things that look like rain and are part of the scene, bars, gaps
and specks. They move with it and must stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3) BGR

# Least and greatest value of every setting.
MOTION_RANGES = {
    "pan_px": (0.0, 64.0),
    "turn_degrees": (-10.0, 10.0),
    "zoom": (-0.2, 0.2),
    "shake_px": (0.0, 16.0),
    "confusers": (0.0, 60.0),
    "longest_step": (1, 8),
}
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How the camera moves; `MOTION_RANGES` holds the limits.

    Attributes:
        pan_px: Distance a frame, in pixels.
        turn_degrees: Rotation a frame.
        zoom: Growth a frame, as a part.
        shake_px: Standard deviation of the place of each frame, besides.
        confusers: Things like rain in the scene.
        longest_step: Frames from one to the next that is seen, at most: the others are
            lost.
    """

    pan_px: float = 0.0
    turn_degrees: float = 0.0
    zoom: float = 0.0
    shake_px: float = 0.0
    confusers: float = 0.0
    longest_step: int = 1

    def times(self, frames: int, random: np.random.Generator) -> list[int]:
        """Numbers of the `frames` that are seen, from 0 on."""
        steps = random.integers(1, self.longest_step + 1, frames - 1)
        return [0, *np.cumsum(steps).tolist()]


def moving_camera(
    photograph: Picture,
    side: int,
    motion: Motion,
    times: Sequence[int],
    random: np.random.Generator,
) -> list[Picture]:
    """Crops of `photograph`, as a camera sees them that moves over it.

    Args:
        photograph: `(H, W, 3)` uint8 BGR; beyond its border it is mirrored.
        side: Height and width of a crop, in pixels.
        motion: How the camera moves.
        times: Numbers of the frames.
        random: Gives place, scale and directions.
    """
    height, width = photograph.shape[:2]
    scale, angle = random.uniform(0.8, 1.5), random.uniform(-10.0, 10.0)
    heading = random.uniform(0.0, 2 * np.pi)
    # Cameras pan more than they tilt.
    pan = motion.pan_px * np.array([np.cos(heading), 0.5 * np.sin(heading)])
    margin = 0.5 * side / scale
    centre = [
        random.uniform(min(margin, length / 2), max(length - margin, length / 2))
        for length in (width, height)
    ]
    if motion.confusers:
        photograph = with_confusers(photograph, motion.confusers, random)
    crops = []
    middle = times[len(times) // 2]  # where the centre is in view
    for time in times:
        at = time - middle
        matrix = cv2.getRotationMatrix2D(
            (centre[0], centre[1]),
            angle + motion.turn_degrees * at,
            scale * (1.0 + motion.zoom) ** at,
        )
        shake = random.normal(0.0, 1.0, 2) * motion.shake_px
        shift = side / 2 - np.array(centre) + pan * at + shake
        matrix = matrix + np.column_stack([np.zeros((2, 2)), shift])
        crops.append(
            cv2.warpAffine(
                photograph,
                matrix,
                (side, side),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )
        )
    return cast(list[Picture], crops)


def with_confusers(
    picture: Picture, density: float, random: np.random.Generator
) -> Picture:
    """`picture` with things in it that look like rain.

    Args:
        picture: `(H, W, 3)` uint8 BGR, of any size.
        density: How many, for every 10,000 pixels.
        random: Gives kinds and places.
    """
    height, width = picture.shape[:2]
    drawn = picture.copy()
    count = random.poisson(density * height * width / 1e4)
    if random.random() < 0.4:  # a fence: bars side by side
        drawn = _fence(drawn, random)
    for _ in range(int(count)):
        x, y = random.uniform(0, width), random.uniform(0, height)
        grey = random.uniform(0.0, 255.0) if random.random() < 0.4 else 255.0
        colour = np.full(3, grey) * random.uniform(0.8, 1.0, 3)
        if random.random() < 0.25:  # a speck
            dx = dy = 0.5
        else:
            length = np.exp(random.uniform(np.log(4.0), np.log(60.0)))
            tilt = random.normal(0.0, 0.25)
            dx, dy = length * np.sin(tilt), length * np.cos(tilt)
        thick = 1 if random.random() < 0.75 else 2
        opacity = random.uniform(0.2, 1.0)
        drawn = _line(drawn, (x, y), (x + dx, y + dy), colour, thick, opacity)
    return drawn


def _fence(picture: Picture, random: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    pitch = random.uniform(4.0, 24.0)
    lean = random.normal(0.0, 0.05)
    colour = np.full(3, random.uniform(0.0, 255.0)) * random.uniform(0.9, 1.0, 3)
    top, bottom = np.sort(random.uniform(0, height, 2))
    opacity = random.uniform(0.4, 1.0)
    mask = np.zeros((height, width), np.uint8)
    thick = 1 if random.random() < 0.6 else 2
    for x in np.arange(random.uniform(0, pitch), width, pitch):
        _draw(mask, (x, top), (x + lean * (bottom - top), bottom), thick)
    return _blend(picture, mask, colour, opacity, slice(None), slice(None))


def _line(
    picture: Picture,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: NDArray[np.float64],
    thick: int,
    opacity: float,
) -> Picture:
    """Draw in place, in the box of the line alone: pictures are large."""
    height, width = picture.shape[:2]
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    x0, x1 = max(int(left) - 3, 0), min(int(right) + 4, width)
    y0, y1 = max(int(top) - 3, 0), min(int(bottom) + 4, height)
    if x1 <= x0 or y1 <= y0:
        return picture
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    _draw(mask, (start[0] - x0, start[1] - y0), (end[0] - x0, end[1] - y0), thick)
    return _blend(picture, mask, colour, opacity, slice(y0, y1), slice(x0, x1))


def _draw(
    mask: NDArray[np.uint8],
    start: tuple[float, float],
    end: tuple[float, float],
    thick: int,
) -> None:
    one = 1 << _SUBPIXEL_BITS
    ends = [(round(x * one), round(y * one)) for x, y in (start, end)]
    cv2.line(mask, ends[0], ends[1], (255,), thick, cv2.LINE_AA, _SUBPIXEL_BITS)


def _blend(
    picture: Picture,
    mask: NDArray[np.uint8],
    colour: NDArray[np.float64],
    opacity: float,
    rows: slice,
    columns: slice,
) -> Picture:
    seen = picture[rows, columns].astype(np.float32)
    weight = mask[..., np.newaxis].astype(np.float32) * np.float32(opacity / 255.0)
    seen += weight * (colour.astype(np.float32) - seen)
    picture[rows, columns] = np.rint(seen).astype(np.uint8)
    return picture
