"""Standard input as a source: Y4M, or raw frames whose form is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction

from derain.core import numbers
from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.sources.container_walks import y4m_frame_bytes
from derain.runtime.video.sources.ffmpeg_stream import StreamSource, StreamSpec
from derain.runtime.video.uris import parsed, split_fields

_NAME = "standard input"
_FIELDS = {"size": "", "fps": "", "format": "", "live": "0"}
_FORM = "-"
# Bytes of a frame, by its width and height.
_PIXELS: dict[str, Callable[[int, int], int]] = {
    "bgr24": lambda w, h: 3 * w * h,
    "gray": lambda w, h: w * h,
    "nv12": lambda w, h: w * h + 2 * -(-w // 2) * -(-h // 2),
    "rgb24": lambda w, h: 3 * w * h,
    "yuv420p": lambda w, h: w * h + 2 * -(-w // 2) * -(-h // 2),
    "yuyv422": lambda w, h: 4 * -(-w // 2) * h,
}


def open_standard_input(uri: str, fps: Fraction | None = None) -> StreamSource:
    """``-`` for Y4M, ``-?size=1280x720&format=nv12&fps=30`` for raw frames.

    The writer of the pipe waits for us, and every frame is read; with ``live=1``, as
    behind a camera, the newest one is.

    Raises:
        MediaError: The URI has another form, or what comes is no video.
    """
    _, fields = split_fields(uri, _FORM, _FIELDS)

    def parse() -> tuple[Size | None, Fraction | None, bool]:
        rate = fps or (numbers.rate(fields["fps"]) if fields["fps"] else None)
        if fields["live"] not in ("0", "1"):
            raise ValueError("live must be 0 or 1")
        return (
            Size.parse(fields["size"]) if fields["size"] else None,
            rate,
            fields["live"] == "1",
        )

    size, rate, live = parsed(uri, _FORM, _FIELDS, parse)
    options = {}
    frame_bytes = 0
    if size is None:
        if rate is not None or fields["format"]:
            raise MediaError(
                f"{uri}: Y4M says its rate and format itself; for raw frames, give the "
                "size too"
            )
    else:
        if fields["format"] not in _PIXELS:
            raise MediaError(
                f"{uri}: format {fields['format']!r} is not one of {', '.join(_PIXELS)}"
            )
        options = {
            "video_size": str(size),
            "pixel_format": fields["format"],
            "framerate": str(rate or 25),
        }
        frame_bytes = _PIXELS[fields["format"]](size.width, size.height)
    counted = _CountedInput(frame_bytes)
    return StreamSource(
        StreamSpec(
            name=_NAME,
            url=counted,
            format="yuv4mpegpipe" if size is None else "rawvideo",
            options=options,
            live=live,
            stamped=False,
            endless=False,
        ),
        reason=lambda: "" if live else counted.flaw,
    )


class _CountedInput:
    """Standard input as FFmpeg reads it, and whether its last frame was whole.

    Args:
        frame_bytes: Size of a frame; 0: Y4M, which tells.
    """

    def __init__(self, frame_bytes: int) -> None:
        self._is_y4m = not frame_bytes
        self._frame_bytes = frame_bytes
        self._left = 0  # of the frame at hand
        self._line = b""  # as far as it is known; Y4M has one before each frame
        self._ended = False

    def read(self, size: int) -> bytes:
        """See `Readable.read`."""
        data = os.read(0, size)
        self._ended = not data
        self._count(data)
        return data

    @property
    def flaw(self) -> str:
        """What is wrong with it, now that it has ended; empty: nothing."""
        if not self._ended or not (self._left or self._line):
            return ""
        return f"its last frame is cut short, by {self._left or 'some'} bytes"

    def _count(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if not self._left:
                position = self._begin(data, position)
            step = min(self._left, len(data) - position)
            self._left -= step
            position += step

    def _begin(self, data: bytes, position: int) -> int:
        """Begin a frame at `position`; returns where its data does."""
        if self._is_y4m:
            end = data.find(b"\n", position)
            if end < 0:
                self._line += data[position:]
                return len(data)
            line, self._line = self._line + data[position:end], b""
            position = end + 1
            if not line.startswith(b"FRAME"):
                self._frame_bytes = y4m_frame_bytes(line)
                return position
        self._left = self._frame_bytes or len(data) - position
        return position
