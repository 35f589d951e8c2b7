"""The frames an export is verified on: real photographs, in rain, at the right size.

Networks with a memory are verified on clips.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from derain.core.errors import MediaError, ShapeError
from derain.core.frame_tensors import Frame
from derain.core.pictures import SUFFIXES, picture_paths, read_picture
from derain.core.sizes import Size, SizeRange
from derain.core.synthetic.rain import PRESETS, rainy_clip, render_rain
from derain.runtime.pipeline.capture import Capture
from derain.runtime.video.sources import open_source

if TYPE_CHECKING:
    from derain.calibration.frame_store import FrameSource

_PHOTOS = Path(__file__).resolve().parent / "photos"
_RAIN = ("moderate", "light", "heavy")
CLIP, LEAST_CLIP = 8, 4  # frames


def verification_frames(
    size: Size, count: int, source: FrameSource | None = None
) -> list[Frame]:
    """`count` rainy frames of `size`.

    Args:
        size: Size of every frame; a picture is scaled to cover it and cropped.
        count: How many; pictures are used again where there are fewer.
        source: Rainy frames: a picture, a folder, what `open_source` takes, or
            `(H, W, 3)` uint8 BGR arrays; its first ones are used. None takes
            photographs that ship with the package and renders rain on them.

    Returns:
        Frames, each `(H, W, 3)` uint8 BGR, the same on every call.

    Raises:
        MediaError: `source` has no picture, or one cannot be read.
        ShapeError: An array is no frame.
    """
    pictures = _pictures(_PHOTOS if source is None else source, count)
    frames = []
    for k in range(count):
        frame = _cover(pictures[k % len(pictures)], size)
        if source is None:
            frame = render_rain(frame, PRESETS[_RAIN[k % len(_RAIN)]], seed=k)
        frames.append(frame)
    return frames


def frames_of_sizes(sizes: SizeRange, source: FrameSource | None = None) -> list[Frame]:
    """Two frames of the one size, or one each of several sizes of a range.

    Args and errors are those of `verification_frames`.
    """
    if sizes.is_static:
        return verification_frames(sizes.optimum, 2, source)
    pictures = None if source is None else _pictures(source, 1)
    frames = []
    for size in _sizes_of(sizes):
        frames += verification_frames(size, 1, pictures)
    return frames


def clips_of_sizes(
    sizes: SizeRange, source: FrameSource | None = None, least: int = LEAST_CLIP
) -> list[Frame]:
    """A clip of `CLIP` frames in motion for each size that `frames_of_sizes` takes.

    Args:
        sizes: Of the frames.
        source: As in `verification_frames`; None renders a street that pans past, in
            rain that falls on from frame to frame.
        least: Fewest frames that prove anything.

    Returns:
        The frames of all clips, in order.

    Raises:
        MediaError: `source` has fewer than `least` frames, or one cannot be read.
        ShapeError: An array is no frame.
    """
    pictures = None if source is None else _pictures(source, max(CLIP, least))
    if pictures is not None and len(pictures) < least:
        raise MediaError(
            f"a network with a memory is verified on a clip of at least {least} "
            f"frames, got {len(pictures)}"
        )
    frames = []
    for seed, size in enumerate(_sizes_of(sizes)):
        if pictures is None:
            frames += [rainy for rainy, _ in rainy_clip(size, max(CLIP, least), seed)]
        else:
            frames += verification_frames(size, max(CLIP, least), pictures)
    return frames


def _sizes_of(sizes: SizeRange) -> list[Size]:
    """The least, the optimum, and one between them."""
    low, middle = sizes.minimum, sizes.optimum
    between = Size((low.width + middle.width) // 2, (low.height + middle.height) // 2)
    return list(dict.fromkeys((low, middle, between)))


def _pictures(source: FrameSource, most: int) -> list[Frame]:
    """The first pictures of `source`, at least one and at most `most`."""
    if not isinstance(source, (str, Path)):
        arrays = list(itertools.islice(source, most))
        for array in arrays:
            if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
                raise ShapeError(
                    f"frames to verify on: got {array.shape} {array.dtype}, wanted "
                    "(H, W, 3) uint8"
                )
        if not arrays:
            raise MediaError("there are no frames to verify on")
        return arrays
    path = Path(source)
    if path.is_dir():
        return [read_picture(each) for each in picture_paths(path)[:most]]
    if path.suffix.lower() in SUFFIXES:
        return [read_picture(path)]
    with Capture(open_source(str(source))) as opened:
        frames = [np.array(frame.image) for frame in itertools.islice(opened, most)]
    if not frames:
        raise MediaError(f"{source} has no frames to verify on")
    return frames


def _cover(picture: Frame, size: Size) -> Frame:
    """Scale `picture` until it covers `size`, and cut out the middle."""
    height, width = picture.shape[:2]
    scale = max(size.width / width, size.height / height)
    wide = max(size.width, round(width * scale))
    high = max(size.height, round(height * scale))
    shrinks = scale < 1
    scaled = cv2.resize(
        picture,
        (wide, high),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )
    left, top = (wide - size.width) // 2, (high - size.height) // 2
    return np.ascontiguousarray(
        scaled[top : top + size.height, left : left + size.width], dtype=np.uint8
    )
