"""What a camera does to frames: exposure, noise, JPEG, and the blocks of video codecs.

Applied to a clip in the rain and to its truth alike: the truth is what the same camera
would have recorded without rain, so that nobody learns to take the camera's marks off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3) BGR

BLOCK = 8  # pixels of a codec's transform block
_DEAD_ZONE = 0.67  # of a step: codecs round towards zero, so that blocks stand still

# Least and greatest value of every setting.
CAMERA_RANGES = {
    "noise": (0.0, 20.0),
    "jpeg": (0.0, 100.0),
    "blocking": (0.0, 60.0),
    "exposure": (0.0, 0.3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """How a camera records; 0 leaves a thing out. `CAMERA_RANGES` holds the limits.

    Attributes:
        noise: Standard deviation of the sensor's noise, in grey levels.
        jpeg: Quality of JPEG, of each frame by itself.
        blocking: Step of the quantiser, in grey levels, of a codec in the manner of
            H.264: each frame as what changed since the one before, in blocks.
        exposure: Standard deviation of the change of exposure from frame to frame, as a
            part of the exposure.
    """

    noise: float = 0.0
    jpeg: float = 0.0
    blocking: float = 0.0
    exposure: float = 0.0


def record(
    clips: Sequence[Sequence[Picture]], camera: Camera, random: np.random.Generator
) -> list[list[Picture]]:
    """The frames of `clips`, which show one scene, as one camera records them.

    Args:
        clips: Frames of one size, as many in each clip.
        camera: How it records.
        random: Gives noise and exposure, the same for all `clips`.
    """
    first = clips[0][0]
    gains = np.exp(np.cumsum(random.normal(0.0, 1.0, len(clips[0])) * camera.exposure))
    recorded: list[list[Picture]] = [[] for _ in clips]
    for index, gain in enumerate(gains):
        noise = None
        if camera.noise:
            noise = random.standard_normal(first.shape, np.float32) * camera.noise
        for clip, frames in zip(recorded, clips, strict=True):
            clip.append(_sensed(frames[index], float(gain), noise))
    if camera.blocking:
        recorded = [in_blocks(clip, camera.blocking) for clip in recorded]
    if camera.jpeg:
        recorded = [[_jpeg(x, camera.jpeg) for x in clip] for clip in recorded]
    return recorded


def _sensed(frame: Picture, gain: float, noise: NDArray[np.float32] | None) -> Picture:
    if noise is None and gain == 1.0:
        return frame
    light = frame.astype(np.float32) * np.float32(gain)
    if noise is not None:
        light += noise
    return cast(Picture, np.rint(light).clip(0, 255).astype(np.uint8))


def _jpeg(frame: Picture, quality: float) -> Picture:
    settings = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]
    done, content = cv2.imencode(".jpg", frame, settings)
    assert done  # JPEG in memory: nothing can fail but memory
    return cast(Picture, cv2.imdecode(content, cv2.IMREAD_COLOR))


def in_blocks(frames: Sequence[Picture], step: float) -> list[Picture]:
    """`frames` through a codec without motion: blocks stand still and trail.

    Args:
        frames: Of one size.
        step: Of the quantiser, in grey levels.
    """
    height, width = frames[0].shape[:2]
    down, right = -height % BLOCK, -width % BLOCK
    known: NDArray[np.float32]
    known = np.full((height + down, width + right, 3), 128.0, np.float32)
    decoded = []
    for frame in frames:
        padded = cv2.copyMakeBorder(frame, 0, down, 0, right, cv2.BORDER_REPLICATE)
        known = known + _quantised(padded.astype(np.float32) - known, step)
        seen = np.rint(known[:height, :width]).clip(0, 255).astype(np.uint8)
        decoded.append(np.ascontiguousarray(seen))
    return decoded


def _quantised(change: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """`change`, whose transform in blocks is rounded to multiples of `step`."""
    high, wide = change.shape[0] // BLOCK, change.shape[1] // BLOCK
    blocks = change.reshape(high, BLOCK, wide, BLOCK, 3)
    cosines = _cosines()
    rows: NDArray[np.float32] = np.tensordot(cosines, blocks, (1, 1))  # (u, h, w, x, 3)
    both = np.tensordot(cosines, rows, (1, 3))  # (v, u, h, w, 3)
    kept = np.sign(both) * np.floor(np.abs(both) / step + (1 - _DEAD_ZONE)) * step
    columns = np.tensordot(cosines.T, kept, (1, 0))  # (x, u, h, w, 3)
    back = np.tensordot(cosines.T, columns, (1, 1))  # (y, x, h, w, 3)
    return np.ascontiguousarray(back.transpose(2, 0, 3, 1, 4)).reshape(change.shape)


def _cosines() -> NDArray[np.float32]:
    """The orthonormal cosine transform of `BLOCK` values, a row a frequency."""
    rows = cv2.dct(np.eye(BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS)
    return cast(NDArray[np.float32], rows).T.copy()
