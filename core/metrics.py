"""How close two pictures are: PSNR of all samples, and PSNR and SSIM on Y.

The latter are the figures that papers on deraining print. Y is that of MATLAB's
rgb2ycbcr, in float, peak 255. SSIM has an 11x11 Gaussian window of sigma 1.5 and is
taken where the window lies inside the picture; K1 0.01, K2 0.03. Both look at 8-bit
pictures. Published figures are not all on this metric.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.errors import ShapeError

PEAK = 255.0
# What stands for equal pictures where a number must be finite, as in JSON.
CEILING_DB = 120.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
# Of B, G and R, for values in [0, 255]: ITU-R BT.601 as MATLAB's rgb2ycbcr has it.
_LUMA = np.array([24.966, 128.553, 65.481]) / PEAK


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR of two uint8 arrays of one shape, in dB; all channels count alike.

    Infinite where the two are equal. (The figures that papers print are on Y: `score`.)
    """
    difference = a.astype(np.int16) - b.astype(np.int16)
    square = np.square(difference, dtype=np.int32)
    return psnr_of_mse(float(np.mean(square, dtype=np.float64)))


def psnr_of_mse(mse: float, most: float = math.inf) -> float:
    """PSNR in dB of a mean squared error in grey levels of 255, at most `most`."""
    return min(10.0 * math.log10(PEAK**2 / mse), most) if mse else most


def mse_of_psnr(psnr_db: float) -> float:
    """Mean squared error, in grey levels of 255, of a PSNR in dB."""
    return float(PEAK**2 / 10 ** (psnr_db / 10))


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
    psnr = psnr_of_mse(float(np.mean(np.square(a - b))))
    return Score(psnr, _ssim(a, b))


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
