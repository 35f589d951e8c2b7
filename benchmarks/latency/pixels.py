"""Frame to tensor and back on the host, as people write it around an ONNX graph."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.benchmarks.latency.candidate import Frame
from derain.core.sizes import Size
from derain.models.registry import NetworkFacts


def padded_size(size: Size, facts: NetworkFacts) -> Size:
    """The size at which `facts` lets a network see a frame of `size`."""

    def up(length: int) -> int:
        unit = facts.multiple_of
        return max(-(-length // unit), -(-facts.minimum // unit)) * unit

    return Size(up(size.width), up(size.height))


def to_tensor(frame: Frame, facts: NetworkFacts) -> NDArray[np.float32]:
    """`(H, W, 3)` uint8 BGR -> `(1, 3, H', W')` float32 in [0, 1], padded."""
    height, width, _ = frame.shape
    full = padded_size(Size(width, height), facts)
    down, right = full.height - height, full.width - width
    if down or right:
        fits = down < height and right < width
        mode = cv2.BORDER_REFLECT_101 if fits else cv2.BORDER_REPLICATE
        frame = cast(Frame, cv2.copyMakeBorder(frame, 0, down, 0, right, mode))
    swap = facts.colour == "rgb"
    tensor = cv2.dnn.blobFromImage(frame, 1 / 255, swapRB=swap)
    return cast(NDArray[np.float32], tensor)


def to_frame(picture: NDArray[np.float32], size: Size, facts: NetworkFacts) -> Frame:
    """`(1, 3, H', W')` float32 -> `(H, W, 3)` uint8 BGR, the padding cut off."""
    levels = picture[0, :, : size.height, : size.width] * np.float32(255)
    np.rint(levels, out=levels)
    np.clip(levels, 0, 255, out=levels)
    planes = levels.astype(np.uint8)
    order = planes[::-1] if facts.colour == "rgb" else planes
    return cast(Frame, cv2.merge(list(order)))
