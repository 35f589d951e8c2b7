"""Frames of a size that a bundle does not take: through it all the same (`--resize`).

A frame that is too large is made smaller, its shape kept; what is too small then is
continued by its border to the right and at the bottom, as the frame contract does, and
never enlarged. What the network takes away, the *rain layer*, is brought to the full
size and taken off the frame itself, so that what is not rain stays as sharp as it was.

Measured with rivulet-s, PSNR on Y in dB of every third of 20 frames; a1 is NTURain's
(640x480), the others are drives without rain (480x270, CamVid and a motorway) in the
preset rain:

    clip             rainy  own size  scale  picture up  layer up, linear  cubic
    a1               29.69  32.53     0.75   29.38       31.94             32.08
                                      0.67   28.39       31.72             31.86
                                      0.50   26.37       31.13             31.24
                                      0.33   23.86       30.60             30.66
    camvid-0016E5    24.99  30.13     0.75   26.17       30.12             30.19
                                      0.67   25.63       29.75             29.85
                                      0.50   24.37       28.89             29.06
                                      0.33   22.99       27.71             27.82

The picture taken up is worse than the rain it came with; the layer is always better,
but what is exported for the size is better still. A bundle 1.5 times as large as the
frame, continued by its border: 32.51 and 30.12, enlarged to it: 30.84 and 28.24.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.sizes import Size, SizeRange

# Down to this scale a pixel of four neighbours misses none. Averages of all of them
# cost 8.9 ms in place of 2.2 for 1920x1080 in 1280x720, and make a1 at 0.67 0.03 dB
# better.
_LINEAR = 0.5


@dataclass(frozen=True, slots=True)
class FrameFit:
    """How frames of one size go through a bundle that takes other ones.

    Attributes:
        source: Of the frame.
        scaled: At which the network sees it; never larger.
        shown: Of what the network is given: it and its border.
    """

    source: Size
    scaled: Size
    shown: Size

    @classmethod
    def of(cls, source: Size, sizes: SizeRange) -> FrameFit:
        """The fit of frames of `source` into `sizes`: as little smaller as can be."""
        low, high = sizes.minimum, sizes.maximum
        scale = min(1.0, high.width / source.width, high.height / source.height)
        scaled = Size(
            min(max(1, round(source.width * scale)), high.width),
            min(max(1, round(source.height * scale)), high.height),
        )
        shown = Size(max(scaled.width, low.width), max(scaled.height, low.height))
        return cls(source, scaled, shown)

    @property
    def scale(self) -> float:
        """Of the picture that the network sees, at most 1."""
        return max(
            self.scaled.width / self.source.width,
            self.scaled.height / self.source.height,
        )

    def __str__(self) -> str:
        inside = "" if self.shown == self.scaled else f" in {self.shown}"
        text = f"{self.source} -> {self.scaled}{inside}, scale {self.scale:.2f}: "
        if self.scaled == self.source:
            return f"{text}continued by its border, which is cut off again"
        return (
            f"{text}rain is found in the smaller picture and taken off the full one; "
            "the finest stays"
        )

    def into(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the network is given for `image`; itself where its size is taken."""
        if self.scaled != self.source:
            method = cv2.INTER_LINEAR if self.scale >= _LINEAR else cv2.INTER_AREA
            image = _resized(image, self.scaled, method)
        right = self.shown.width - self.scaled.width
        down = self.shown.height - self.scaled.height
        if right or down:
            image = cast(
                NDArray[np.uint8],
                cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE),
            )
        return image

    def back(
        self,
        image: NDArray[np.uint8],
        shown: NDArray[np.uint8],
        derained: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """`image` without the rain that was found in it.

        Args:
            image: The frame, `(H, W, 3)` uint8 BGR, of `source`.
            shown: What `into` made of it.
            derained: What the network made of that.

        Returns:
            `(H, W, 3)` uint8: `derained` itself, or its part, to the bit, where nothing
            was made smaller.
        """
        picture = slice(self.scaled.height), slice(self.scaled.width)
        if self.scaled == self.source:
            return derained[picture]
        # Of 1920x1080 in 1280x720 on one core: 7.4 ms, with floats 10.0; linear 5.9,
        # with NumPy's clipping 8.5; the picture taken up 3.0.
        layer = cv2.subtract(derained[picture], shown[picture], dtype=cv2.CV_16S)
        size = (self.source.width, self.source.height)
        layer = cv2.resize(layer, size, interpolation=cv2.INTER_CUBIC)
        return cast(NDArray[np.uint8], cv2.add(image, layer, dtype=cv2.CV_8U))


def letterboxed(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """`image` as large as `size` can hold it, its shape kept, in the middle of black.

    For sinks that take frames of one size, of a live source that has changed its own.
    """
    height, width = image.shape[:2]
    scale = min(size.width / width, size.height / height)
    inner = Size(
        min(max(1, round(width * scale)), size.width),
        min(max(1, round(height * scale)), size.height),
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left, top = (size.width - inner.width) // 2, (size.height - inner.height) // 2
    framed = cv2.copyMakeBorder(
        _resized(image, inner, method),
        *(top, size.height - inner.height - top),
        *(left, size.width - inner.width - left),
        cv2.BORDER_CONSTANT,
    )
    return cast(NDArray[np.uint8], framed)


def _resized(image: NDArray[np.uint8], size: Size, method: int) -> NDArray[np.uint8]:
    resized = cv2.resize(image, (size.width, size.height), interpolation=method)
    return cast(NDArray[np.uint8], resized)
