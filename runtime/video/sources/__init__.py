"""Sources of frames: a new kind is one file here, and one row of this table."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

from derain.core.errors import MediaError, UnknownNameError
from derain.core.lazy import load
from derain.core.pictures import SUFFIXES as PICTURE_SUFFIXES
from derain.runtime.video.frames import Source
from derain.runtime.video.kinds import (
    Kind,
    find,
    is_folder,
    is_pipe,
    listed,
    scheme,
    schemes,
    suffix_in,
)
from derain.runtime.video.uris import public

# What people have. FFmpeg reads more; a suffix is enough to tell a video from a typo.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
    }
)


def _is_glob(uri: str) -> bool:
    return any(sign in uri for sign in "*?[") and not Path(uri).exists()


# The first row that matches is taken.
SOURCES = (
    Kind("test://rain", schemes("test"), "rendered", "open_test"),
    Kind("camera:0", schemes("camera", "v4l2"), "camera", "open_camera"),
    Kind("csi://0", schemes("csi"), "gstreamer", "open_csi", extra="video"),
    Kind("gst:PIPELINE", schemes("gst"), "gstreamer", "open_gst", extra="video"),
    Kind(
        "rtsp://",
        schemes("rtsp", "rtsps"),
        "rtsp_http",
        "open_rtsp",
        extra="video",
    ),
    Kind(
        "http://",
        schemes("http", "https"),
        "rtsp_http",
        "open_http",
        extra="video",
    ),
    Kind("-", is_pipe, "standard_input", "open_standard_input", extra="video"),
    Kind("a folder of pictures", is_folder, "pictures", "open_folder"),
    Kind("a glob of pictures", _is_glob, "pictures", "open_glob"),
    Kind(
        f"a picture ({listed(PICTURE_SUFFIXES)})",
        suffix_in(PICTURE_SUFFIXES),
        "pictures",
        "open_picture",
    ),
    Kind(
        f"a video ({listed(VIDEO_SUFFIXES)})",
        suffix_in(VIDEO_SUFFIXES),
        "video_decoder",
        "open_video",
        extra="video",
    ),
)


def open_source(uri: str, fps: Fraction | None = None) -> Source:
    """Open what `uri` names for reading.

    Args:
        uri: A path, a glob or an URI; see `SOURCES`.
        fps: Frame rate for pictures, in frames per second.

    Raises:
        UnknownNameError: It is of no kind in `SOURCES`.
        MissingDependencyError: Its optional package is not installed.
        MediaError: It is missing, cannot be decoded, or holds no frame.
    """
    kind = find(uri, SOURCES)
    if kind is None and scheme(uri) == "" and not Path(uri).exists():
        raise MediaError(f"{uri} does not exist")
    if kind is None:
        raise UnknownNameError("source", public(uri), [row.form for row in SOURCES])
    factory = load(f"{__name__}.{kind.module}", kind.factory, kind.extra)
    return cast(Source, factory(uri, fps))
