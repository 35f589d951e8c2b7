"""PSNR and SSIM on the Y channel: the figures that papers on deraining print.

Y is that of MATLAB's rgb2ycbcr, in float, peak 255. SSIM has an 11x11 Gaussian window
of sigma 1.5 and is taken where the window lies inside the picture; K1 0.01, K2 0.03.
Both look at 8-bit pictures. Published figures are not all on this metric.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.errors import ShapeError

PEAK = 255.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
# Of B, G and R, for values in [0, 255]: ITU-R BT.601 as MATLAB's rgb2ycbcr has it.
_LUMA = np.array([24.966, 128.553, 65.481]) / PEAK


class Score(NamedTuple):
    """How close a picture is to another; `psnr_db` is infinite where they are equal."""

    psnr_db: float
    ssim: float


def luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Y of `image`: `(H, W, 3)` uint8 BGR -> `(H, W)` float64 in [16, 235]."""
    return image.astype(np.float64) @ _LUMA + 16.0


def score(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Score:
    """PSNR and SSIM on Y of two pictures, `(H, W, 3)` uint8 BGR.

    Raises:
        ShapeError: They are of different sizes, or smaller than SSIM's window.
    """
    if image.shape != reference.shape or image.shape[-1] != 3:
        raise ShapeError(
            f"cannot compare pictures of {image.shape} and {reference.shape}"
        )
    if min(image.shape[:2]) < _WINDOW:
        raise ShapeError(f"picture of {image.shape}: SSIM needs {_WINDOW}x{_WINDOW}")
    a, b = luma(image), luma(reference)
    return Score(_psnr_db(a, b), _ssim(a, b))


def _psnr_db(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    error = float(np.mean(np.square(a - b)))
    return 10.0 * math.log10(PEAK**2 / error) if error else math.inf


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    similarity = (
        (2 * mean_a * mean_b + _C1)
        * (2 * covariance + _C2)
        / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))
    )
    return float(similarity.mean())


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian means of `x` where the window lies inside."""
    window = cv2.getGaussianKernel(_WINDOW, _SIGMA)
    blurred = cv2.sepFilter2D(x, cv2.CV_64F, window, window)
    edge = _WINDOW // 2
    return cast(NDArray[np.float64], blurred[edge:-edge, edge:-edge])
