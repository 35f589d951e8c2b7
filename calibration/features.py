"""What tells frames apart (a hash, brightness, rain), and a choice that covers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

_LINES = 240  # frames are looked at this high
_THUMBNAIL = (32, 18)
# Two frames are the same if their hashes differ in no more than so many of 64 bits and
# their thumbnails in so many grey levels: a paused clip, but not rain before a fixed
# camera.
_SAME_BITS, _SAME_LEVELS = 4, 1.0
_STRATA = 3  # of brightness and of rain each


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A frame in a few numbers.

    Attributes:
        hash: Perceptual hash, 64 bits.
        thumbnail: `(18, 32)` float32 grey levels.
        brightness: Mean grey level of 255.
        contrast: Standard deviation of grey levels.
        rain: Mean grey levels that stand out as thin, upright and bright.
    """

    hash: int
    thumbnail: NDArray[np.float32]
    brightness: float
    contrast: float
    rain: float

    def same_as(self, other: Features) -> bool:
        """Whether the two frames would teach the same."""
        bits = bin(self.hash ^ other.hash).count("1")
        if bits > _SAME_BITS:
            return False
        levels = np.mean(np.abs(self.thumbnail - other.thumbnail))
        return bool(levels <= _SAME_LEVELS)


def describe(frame: NDArray[np.uint8]) -> Features:
    """The features of `frame`, `(H, W, 3)` uint8 BGR."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    wide = max(1, round(width * _LINES / height))
    small = cv2.resize(grey, (wide, _LINES), interpolation=cv2.INTER_AREA)
    # An opening with a flat line removes what is bright and narrower than it.
    line = np.ones((1, 7), np.uint8)
    streaks = cv2.morphologyEx(small, cv2.MORPH_TOPHAT, line)
    upright = cv2.morphologyEx(streaks, cv2.MORPH_OPEN, np.ones((5, 1), np.uint8))
    thumbnail = cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return Features(
        hash=perceptual_hash(grey),
        thumbnail=cast(NDArray[np.float32], thumbnail.astype(np.float32)),
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        rain=float(upright.mean()),
    )


def perceptual_hash(grey: NDArray[np.uint8] | cv2.typing.MatLike) -> int:
    """64 bits: which of the lowest 8x8 frequencies are above their median."""
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def stratify(features: Sequence[Features], count: int) -> list[int]:
    """Indices of `count` frames that cover brightness and rain evenly, in order.

    Frames fall into 3x3 classes, from dark to bright and from little to much rain; the
    classes take turns, and in each the frames are taken evenly over time.
    """
    classes: dict[tuple[int, int], list[int]] = {}
    bright = _thirds([f.brightness for f in features])
    rain = _thirds([f.rain for f in features])
    for index in range(len(features)):
        classes.setdefault((bright[index], rain[index]), []).append(index)
    queues = [_spread(members) for _, members in sorted(classes.items())]
    chosen: list[int] = []
    while len(chosen) < min(count, len(features)):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return sorted(chosen)


def _thirds(values: Sequence[float]) -> list[int]:
    """The third between the least and the greatest value that each lies in, from 0."""
    low, high = min(values), max(values)
    width = (high - low) / _STRATA or 1.0
    return [min(int((value - low) / width), _STRATA - 1) for value in values]


def _spread(members: Sequence[int]) -> list[int]:
    """`members` so that any number from the start is spread over all of them."""
    count = len(members)
    bits = max(1, (count - 1).bit_length())
    keys = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(count)]
    return [members[k] for k in sorted(range(count), key=keys.__getitem__)]
