"""Frames to tensors and back with NumPy; see `derain.core.frame_contract`."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.frame_contract import PEAK, FrameContract, Padding
from derain.core.sizes import Size

Frame = NDArray[np.uint8]  # (H, W, 3) BGR


def pad(frame: Frame, padding: Padding) -> Frame:
    """`frame`, `(H, W, 3)` uint8, grown by `padding`."""
    if not (padding.right or padding.down):
        return frame
    reflects = padding.mode == "reflect"
    border = cv2.BORDER_REFLECT_101 if reflects else cv2.BORDER_REPLICATE
    grown = cv2.copyMakeBorder(frame, 0, padding.down, 0, padding.right, border)
    return cast(Frame, grown)


def mirror_to(frame: Frame, size: Size) -> Frame:
    """`frame`, mirrored at the right and below as often as it takes to fill `size`."""
    height, width = frame.shape[:2]
    down, right = size.height - height, size.width - width
    return np.ascontiguousarray(pad(frame, Padding(right, down, "reflect")))


def to_tensor(frame: Frame, contract: FrameContract) -> NDArray[np.float32]:
    """`(H, W, 3)` uint8 BGR -> `(1, 3, H', W')` float32 in its range, padded."""
    height, width, _ = frame.shape
    padded = pad(frame, contract.padding(Size(width, height)))
    swap = contract.colour == "rgb"
    tensor = cv2.dnn.blobFromImage(padded, contract.scale, swapRB=swap)
    if black := contract.value_range[0]:
        tensor = tensor + np.float32(black)
    return cast(NDArray[np.float32], tensor)


def to_frame(
    picture: NDArray[np.float32], size: Size, contract: FrameContract
) -> Frame:
    """`(1, 3, H', W')` float32 -> `(H, W, 3)` uint8 BGR, the padding cut off."""
    levels = picture[0, :, : size.height, : size.width]
    if black := contract.value_range[0]:
        levels = levels - np.float32(black)
    levels = levels * np.float32(1 / contract.scale)
    np.rint(levels, out=levels)
    np.clip(levels, 0, PEAK, out=levels)
    planes = levels.astype(np.uint8)
    order = planes[::-1] if contract.colour == "rgb" else planes
    return cast(Frame, cv2.merge(list(order)))
