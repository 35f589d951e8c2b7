"""How steady a clip is: flicker of what stands still, and the warping error.

Both look at two frames that follow each other, on Y (`derain.core.metrics.luma`), and
take from the clean clip what stands still, what moves where, and what is hidden.

The warping error is that of Lai et al., "Learning Blind Video Temporal Consistency",
ECCV 2018, section 4: the frame before is warped along the optical flow and compared
where nothing is hidden, which Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for
Videos", 2016, eq. 5 to 7, decide by flows in both directions. Here the flow is that of
the clean clip, so that rain moves nothing, by OpenCV's DIS (Kroeger et al., "Fast
Optical Flow using Dense Inverse Search", ECCV 2016). A flow is never exact: the clean
clip's own warping error is the least that can be hoped for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.errors import ShapeError
from derain.core.metrics import luma

# What counts as still: the mean change of 5x5 pixels of the clean clip, in grey levels;
# the noise of JPEG and of cameras by day stays below.
STATIC_LEVELS = 2.0
_STATIC_WINDOW = 5
# Ruder et al., eq. 5 and 6: factors and pixels squared.
_HIDDEN, _HIDDEN_PX = 0.01, 0.5
_BOUNDARY, _BOUNDARY_PX = 0.01, 0.002
_LEAST_SIDE = 16  # below, DIS has no pyramid

Image = NDArray[np.uint8]  # (H, W, 3) BGR
Luma = NDArray[np.float32]  # (H, W)


@dataclass(frozen=True, slots=True)
class Unrest:
    """How unsteady two frames are that follow each other.

    Attributes:
        flicker: Mean absolute change of a pixel that stands still in the clean clip,
            beyond that clip's own, in grey levels; NaN where nothing stands still.
        warping_mse: Mean squared difference from the frame before, warped, where
            nothing is hidden, in grey levels squared; NaN where all is.
    """

    flicker: float
    warping_mse: float


class FrameMotion:
    """What happens between two frames of a clean clip.

    Args:
        before: `(H, W, 3)` uint8 BGR, the frame before.
        after: The same shape: the frame that is judged.

    Attributes:
        static: Where the clip stands still, `(H, W)` bool.
        visible: What the frame before shows, too, `(H, W)` bool.

    Raises:
        ShapeError: They are of different sizes, or of fewer than 16 rows or columns.
    """

    def __init__(self, before: Image, after: Image) -> None:
        height, width = after.shape[:2]
        if before.shape != after.shape or min(height, width) < _LEAST_SIDE:
            raise ShapeError(
                f"frames of {before.shape} and {after.shape}: motion is measured "
                f"between two of one size, {_LEAST_SIDE}x{_LEAST_SIDE} or larger"
            )
        self._clean = _luma(before), _luma(after)
        change = np.abs(self._clean[1] - self._clean[0])
        window = (_STATIC_WINDOW, _STATIC_WINDOW)
        self.static: NDArray[np.bool_] = cv2.blur(change, window) <= STATIC_LEVELS
        grey = [np.rint(each).astype(np.uint8) for each in self._clean]
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        back, ahead = dis.calc(grey[1], grey[0], None), dis.calc(*grey, None)  # type: ignore[call-overload]
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        self._x, self._y = columns + back[..., 0], rows + back[..., 1]
        inside = (self._x >= 0) & (self._x <= width - 1)
        inside &= (self._y >= 0) & (self._y <= height - 1)
        self.visible: NDArray[np.bool_] = inside & _consistent(back, self._warp(ahead))

    @property
    def static_share(self) -> float:
        """Part of the picture that stands still."""
        return float(self.static.mean())

    def unrest(self, before: Image, after: Image) -> Unrest:
        """How unsteady another version of the two frames is.

        Args:
            before: `(H, W, 3)` uint8 BGR, such as the derained frame before.
            after: The same of the frame that is judged.
        """
        old, new = _luma(before), _luma(after)
        change = (new - self._clean[1]) - (old - self._clean[0])
        square = np.square(new - self._warp(old))
        return Unrest(
            flicker=_mean(np.abs(change), self.static),
            warping_mse=_mean(square, self.visible),
        )

    def clean_warping_mse(self) -> float:
        """The `Unrest.warping_mse` of the clean clip itself."""
        old, new = self._clean
        return _mean(np.square(new - self._warp(old)), self.visible)

    def _warp(self, before: NDArray[np.float32]) -> NDArray[np.float32]:
        """`before` as the flow moves it to the frame that is judged."""
        mode = cv2.BORDER_REPLICATE
        warped: NDArray[np.float32] = np.asarray(
            cv2.remap(before, self._x, self._y, cv2.INTER_LINEAR, borderMode=mode),
            np.float32,
        )
        return warped


def _consistent(
    flow: NDArray[np.float32], back: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Where `flow`, `(H, W, 2)`, is confirmed by the one `back`, and is smooth."""
    length = np.square(flow).sum(2)
    both = length + np.square(back).sum(2)
    hidden = np.square(flow + back).sum(2) > _HIDDEN * both + _HIDDEN_PX
    gradient = sum(np.square(each).sum(2) for each in np.gradient(flow, axis=(0, 1)))
    boundary = gradient > _BOUNDARY * length + _BOUNDARY_PX
    seen: NDArray[np.bool_] = ~(hidden | boundary)
    return seen


def _luma(image: Image) -> Luma:
    return luma(image).astype(np.float32)


def _mean(values: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    return float(values[where].mean(dtype=np.float64)) if where.any() else math.nan
