"""Standard input as a source: Y4M, or raw frames whose form is given."""

from __future__ import annotations

from fractions import Fraction

from derain.core import numbers
from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.sources.ffmpeg_stream import StreamSource, StreamSpec
from derain.runtime.video.uris import parsed, split_fields

_NAME = "standard input"
_FIELDS = {"size": "", "fps": "", "format": "", "live": "0"}
_FORM = "-"
_PIXELS = ("bgr24", "gray", "nv12", "rgb24", "yuv420p", "yuyv422")


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
    return StreamSource(
        StreamSpec(
            name=_NAME,
            url="pipe:0",
            format="yuv4mpegpipe" if size is None else "rawvideo",
            options=options,
            live=live,
            stamped=False,
            endless=False,
        )
    )
