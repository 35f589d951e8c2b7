"""``v4l2:///dev/video9`` as a sink: a camera that other programs see.

The kernel module v4l2loopback makes such devices. Frames are written to them after one
ioctl that sets the format.

Source: the kernel's ``include/uapi/linux/videodev2.h``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

import cv2
import numpy as np

from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.uris import split_fields

_VIDEO_OUTPUT = 2  # V4L2_BUF_TYPE_VIDEO_OUTPUT
_FIELD_NONE = 1  # progressive
_SMPTE170M = 1  # V4L2_COLORSPACE_SMPTE170M: BT.601, as OpenCV converts
_YU12 = int.from_bytes(b"YU12", "little")  # planar 4:2:0
# struct v4l2_format: the type, then a union of 200 bytes that is aligned as a pointer.
_PIX_FORMAT = struct.Struct("=8I")  # the first eight fields of struct v4l2_pix_format
_UNION_BYTES = 200
# _IOWR('V', 5, struct v4l2_format)
_FORMAT_BYTES = struct.calcsize("@P") + _UNION_BYTES
VIDIOC_S_FMT = 3 << 30 | _FORMAT_BYTES << 16 | ord("V") << 8 | 5


class LoopbackSink:
    """Writes the frames to a video output device, as planar 4:2:0.

    A frame of an odd width or height loses its last column or row.

    Raises:
        MediaError: There is no such device, or it may not be written.
    """

    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        self.name = uri
        place, _ = split_fields(uri, "v4l2:///dev/video9", {})
        self._path = Path(place.partition(":")[2].removeprefix("//"))
        self._device: int | None = None
        self._size: Size | None = None
        if not self._path.exists():
            raise MediaError(
                f"there is no device {self._path}; run: sudo modprobe v4l2loopback "
                "exclusive_caps=1"
            )
        if not os.access(self._path, os.W_OK):
            raise MediaError(
                f"{self._path} may not be used by this user; run: sudo usermod -aG "
                "video $USER, and log in again"
            )

    def write(self, frame: Frame) -> None:
        """See `Sink.write`. All frames must have the size of the first."""
        if self._size is None:
            self._open(frame.size)
        if frame.size != self._size:
            raise MediaError(
                f"{frame} is {frame.size}, {self._path} was set to {self._size}"
            )
        assert self._device is not None  # _open sets it
        even = Size(frame.size.width & ~1, frame.size.height & ~1)
        image = np.ascontiguousarray(frame.image[: even.height, : even.width])
        data = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()
        try:
            os.write(self._device, data)
        except BlockingIOError:
            return  # nobody takes frames
        except OSError as error:
            raise MediaError(
                f"{self._path} cannot be written: {error.strerror}"
            ) from error

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""
        if self._device is not None:
            os.close(self._device)
            self._device = None

    def _open(self, size: Size) -> None:
        try:
            self._device = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            fcntl.ioctl(
                self._device,
                VIDIOC_S_FMT,
                pack_format(Size(size.width & ~1, size.height & ~1)),
            )
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                reason = "it is no video output; make one with: sudo modprobe " + (
                    "v4l2loopback exclusive_caps=1"
                )
            else:
                reason = error.strerror or str(error)
            raise MediaError(f"{self._path} cannot be opened: {reason}") from error
        self._size = size


def pack_format(size: Size) -> bytes:
    """``struct v4l2_format`` for planar 4:2:0 frames of an even `size`."""
    width, height = size.width, size.height
    pixels = _PIX_FORMAT.pack(
        width,
        height,
        _YU12,
        _FIELD_NONE,
        width,  # bytes a line of the first plane
        width * height * 3 // 2,
        _SMPTE170M,
        0,
    )
    head = struct.pack("@I", _VIDEO_OUTPUT).ljust(struct.calcsize("@P"), b"\0")
    return head + pixels.ljust(_UNION_BYTES, b"\0")
