"""Network streams as a source: ``rtsp://``, and MJPEG, HLS and files over HTTP."""

from __future__ import annotations

from fractions import Fraction

from derain.core import numbers
from derain.core.errors import MediaError
from derain.runtime.video.frames import TIMEOUT_S
from derain.runtime.video.sources.ffmpeg_stream import StreamSource, StreamSpec
from derain.runtime.video.uris import parsed, public, refuse_rate, take_fields

_RTSP_FORM = "rtsp://host/path"
_RTSP_FIELDS = {"transport": "tcp", "timeout": f"{TIMEOUT_S:g}"}
_TRANSPORTS = ("tcp", "udp")
_HTTP_FORM = "http://host/path"
_HTTP_FIELDS = {"timeout": f"{TIMEOUT_S:g}"}


def open_rtsp(uri: str, fps: Fraction | None = None) -> StreamSource:
    """The camera or server at `uri`, ``rtsp://`` or ``rtsps://``.

    Two fields are ours, ``transport`` (``tcp`` or ``udp``) and ``timeout`` in seconds;
    all others go to the server.

    Raises:
        MediaError: `fps` is given, or it cannot be reached, or sends no video.
    """
    refuse_rate(uri, fps)
    url, taken = take_fields(uri, tuple(_RTSP_FIELDS))
    fields = {**_RTSP_FIELDS, **taken}
    if fields["transport"] not in _TRANSPORTS:
        raise MediaError(
            f"{public(uri)}: transport {fields['transport']!r} is not tcp or udp"
        )
    timeout_s = _timeout_s(_RTSP_FORM, fields, uri)
    # FFmpeg's guess of the rate takes 20 frames more: 1.2 s instead of 0.4 s until the
    # first one, at 25 frames/s.
    options = {"rtsp_transport": fields["transport"], "fpsprobesize": "0"}
    return StreamSource(
        StreamSpec(
            name=public(uri),
            url=url,
            format="rtsp",
            options=options,
            live=True,
            timeout_s=timeout_s,
        )
    )


def open_http(uri: str, fps: Fraction | None = None) -> StreamSource:
    """What a web server has at `uri`: MJPEG, HLS, or a file that FFmpeg reads.

    A file with a duration is read to its end, every frame; all else is live. The field
    ``timeout``, in seconds, is ours.

    Raises:
        MediaError: `fps` is given, or it cannot be reached, or is no video.
    """
    refuse_rate(uri, fps)
    url, taken = take_fields(uri, tuple(_HTTP_FIELDS))
    timeout_s = _timeout_s(_HTTP_FORM, {**_HTTP_FIELDS, **taken}, uri)
    return StreamSource(
        StreamSpec(
            name=public(uri),
            url=url,
            timeout_s=timeout_s,
        )
    )


def _timeout_s(form: str, fields: dict[str, str], uri: str) -> float:
    wanted = {**fields, "timeout": f"{TIMEOUT_S:g}"}

    def parse() -> float:
        seconds = numbers.number(fields["timeout"])
        if not 0 < seconds <= 3600:
            raise ValueError(f"timeout {fields['timeout']} is not 0 to 3600 seconds")
        return seconds

    return parsed(public(uri), form, wanted, parse)
