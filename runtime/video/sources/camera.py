"""Cameras of Video4Linux as a source, through OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core import numbers
from derain.core.errors import MediaError, SourceLostError
from derain.core.sizes import Size
from derain.runtime.video.frames import TIMEOUT_S, Frame, SourceInfo
from derain.runtime.video.uris import parsed, split_fields

_FIELDS = {"size": "1280x720", "fps": "30", "format": "MJPG"}
_UNIT = Fraction(1, 90_000)  # no camera tells its clock through OpenCV: ours is used
_FIRST_FRAMES = 5  # attempts: some cameras start with an empty one


def open_camera(uri: str, fps: Fraction | None = None) -> CameraSource:
    """``camera:0`` or ``v4l2:///dev/video0?size=1280x720&fps=30&format=MJPG``.

    What the camera does not offer, it replaces by what is nearest; the frames have the
    size that it sends. MJPG is what fits through USB 2 at this size and rate; YUYV
    costs no compression, and is slower.

    Raises:
        MediaError: The URI has another form, or there is no such camera, or it may not
            be used, or is in use.
    """
    form = "camera:0" if uri.startswith("camera:") else "v4l2:///dev/video0"
    place, fields = split_fields(uri, form, _FIELDS)

    def parse() -> tuple[Path, Size, Fraction]:
        if len(fields["format"]) != 4:
            raise ValueError(f"format {fields['format']!r} is not of four letters")
        rate = fps or numbers.rate(fields["fps"])
        return _device(place), Size.parse(fields["size"]), rate

    device, size, rate = parsed(uri, form, _FIELDS, parse)
    check_camera(device)
    camera = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
    try:
        if not camera.isOpened():
            raise MediaError(
                f"{device} cannot be opened; another program may use it, or it is no "
                f"camera; look with: fuser -v {device}"
            )
        fourcc = cv2.VideoWriter.fourcc(*fields["format"])
        camera.set(cv2.CAP_PROP_FOURCC, fourcc)
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, size.width)
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, size.height)
        camera.set(cv2.CAP_PROP_FPS, float(rate))
        first = _first_frame(camera, device)
    except BaseException:
        camera.release()
        raise
    told = camera.get(cv2.CAP_PROP_FPS)
    got = Size(first.shape[1], first.shape[0])
    info = SourceInfo(
        description=f"{device}, {got}",
        name=str(device),
        time_base=_UNIT,
        fps=Fraction(told).limit_denominator(1001) if told > 0 else rate,
        size=got,
        live=True,
        endless=True,
        timeout_s=TIMEOUT_S,
    )
    return CameraSource(info, camera, first)


class CameraSource:
    """The frames of `camera`, each when it comes.

    Args:
        info: What it is like.
        camera: Released by `close`.
        first: The frame that it has been opened with, `(H, W, 3)` uint8 BGR.
    """

    def __init__(
        self, info: SourceInfo, camera: cv2.VideoCapture, first: NDArray[np.uint8]
    ) -> None:
        self.info = info
        self._camera = camera
        self._first = first

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        opened = time.monotonic()
        yield Frame(self._first, 0, Fraction(0), captured=opened)
        index = 0
        while True:
            good = self._camera.grab()
            captured = time.monotonic()  # before the picture is decompressed
            if good:
                good, image = self._camera.retrieve()
            if not good:
                raise SourceLostError(
                    f"{self.info.name} is lost after {captured - opened:.0f} s: no "
                    "frame comes; was it unplugged?"
                )
            index += 1
            moment = max(1, round((captured - opened) / _UNIT)) * _UNIT
            yield Frame(
                cast(NDArray[np.uint8], image), index, moment, captured=captured
            )

    def interrupt(self) -> None:
        """See `Source.interrupt`: OpenCV has a time limit of its own, and no way in."""

    def close(self) -> None:
        """See `Source.close`."""
        self._camera.release()


def check_camera(device: Path) -> None:
    """Raise unless `device` is there, and this user may use it.

    Raises:
        MediaError: It says why not, and what to do.
    """
    if not device.exists():
        others = ", ".join(map(str, sorted(device.parent.glob("video*"))))
        raise MediaError(
            f"there is no camera {device}; "
            + (f"there are {others}" if others else "is one connected?")
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise MediaError(
            f"{device} may not be used by this user; run: "
            "sudo usermod -aG video $USER, and log in again"
        )


def _device(place: str) -> Path:
    if place.startswith("camera:"):
        number = place.removeprefix("camera:")
        if not number.isdecimal():
            raise ValueError(f"{number!r} is not the number of a camera")
        return Path(f"/dev/video{number}")
    path = Path(place.removeprefix("v4l2://"))
    if not path.is_absolute():
        raise ValueError(f"{str(path)!r} is not a device such as /dev/video0")
    return path


def _first_frame(camera: cv2.VideoCapture, device: Path) -> NDArray[np.uint8]:
    for _ in range(_FIRST_FRAMES):
        good, image = camera.read()
        if good:
            return cast(NDArray[np.uint8], image)
    raise MediaError(
        f"{device} sends no frame; another size or format may help, see: "
        f"v4l2-ctl -d {device} --list-formats-ext"
    )
