"""Read and write single pictures, with paths of any script and clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.atomic_files import write_bytes
from derain.core.errors import MediaError
from derain.core.picture_header import picture_size
from derain.core.reading import read_bytes

# What OpenCV's wheels read and write on every platform.
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
JPEG_QUALITY = 95
# 16384x8192: four times 8K; 400 MB when it is decoded.
MOST_PIXELS = 1 << 27
_MOST_BYTES = 1 << 30  # of 16 bits and four channels, not compressed


def picture_paths(folder: Path) -> list[Path]:
    """The pictures in `folder`, in order of their names.

    Raises:
        MediaError: There is no such folder, or no picture in it.
    """
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise MediaError(f"{folder} cannot be read: {error.strerror}") from error
    if not paths:
        raise MediaError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return paths


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The picture in `path`, `(H, W, 3)` uint8 BGR, turned as its EXIF tag says.

    Grey pictures get three equal channels, 16-bit ones are scaled to 8 bits, an alpha
    channel is dropped.

    Raises:
        MediaError: The file is missing, or no picture that can be decoded, or one of
            more than `MOST_PIXELS`.
    """
    try:
        content = read_bytes(path, _MOST_BYTES)  # cv2.imread fails on some file names
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """As `read_picture`, of a file's content; `name` is what messages call it.

    Raises:
        MediaError: It is no picture, or has more than `MOST_PIXELS`.
    """
    size = picture_size(content)
    if size is not None and size.width * size.height > MOST_PIXELS:
        raise MediaError(
            f"{name} claims {size} pixels; at most {MOST_PIXELS / 1e6:.0f} megapixels "
            "are decoded"
        )
    try:
        image = size and cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR
        )
    except cv2.error as error:
        raise MediaError(f"{name} cannot be decoded: {error.err}") from error
    if image is None:
        raise MediaError(f"{name} is not a picture that can be decoded")
    return cast(NDArray[np.uint8], image)


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write `image`, `(H, W, 3)` uint8 BGR, in the format of `path`'s suffix.

    The file appears complete or not at all.

    Raises:
        MediaError: The suffix is not one of `SUFFIXES`, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise MediaError(
            f"{path}: cannot write pictures of type {path.suffix or 'none'!r}; "
            f"choose from {', '.join(sorted(SUFFIXES))}"
        )
    suffix = path.suffix.lower()
    jpeg = suffix in (".jpeg", ".jpg")
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if jpeg else []
    try:
        done, content = cv2.imencode(suffix, image, settings)
    except cv2.error as error:  # WebP ends at 16383 pixels, for one
        raise MediaError(f"{path} cannot be encoded: {error.err}") from error
    if not done:
        raise MediaError(f"{path} cannot be encoded as {suffix}")
    try:
        write_bytes(path, content.tobytes())
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {error.strerror}") from error
