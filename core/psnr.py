"""How far two pictures are apart, in grey levels and decibels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

PEAK = 255.0


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two uint8 arrays of one shape, in dB.

    All channels count alike; infinite where the two are equal. (The figures that papers
    print are on the Y channel: see `derain.core.metrics`.)
    """
    difference = a.astype(np.int16) - b.astype(np.int16)
    error = float(np.mean(np.square(difference, dtype=np.int32), dtype=np.float64))
    return 10.0 * math.log10(PEAK**2 / error) if error else math.inf
