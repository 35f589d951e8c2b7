"""Sinks of frames: a new kind is one file here, and one row of this table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from derain.core.errors import ConfigError, UnknownNameError
from derain.core.lazy import load
from derain.core.pictures import SUFFIXES as PICTURE_SUFFIXES
from derain.runtime.video.frames import Sink, SourceInfo
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
from derain.runtime.video.sink_options import CODEC_FIELD, SinkOptions
from derain.runtime.video.uris import public

VIDEO_SUFFIXES = frozenset({".m4v", ".mkv", ".mov", ".mp4"})


def _is_video(uri: str) -> bool:
    return suffix_in(VIDEO_SUFFIXES)(uri.partition(CODEC_FIELD)[0])


def _is_new_folder(uri: str) -> bool:
    return scheme(uri) == "" and (uri.endswith("/") or Path(uri).suffix == "")


# The first row that matches is taken.
SINKS = (
    Kind("null:", schemes("null"), "null", "NullSink"),
    Kind("window:", schemes("window"), "window", "WindowSink"),
    Kind("rtsp://", schemes("rtsp"), "rtsp_publisher", "RtspSink", extra="video"),
    Kind("v4l2:///dev/video9", schemes("v4l2"), "loopback", "LoopbackSink"),
    Kind("-", is_pipe, "standard_output", "StandardOutputSink", extra="video"),
    Kind("a folder", is_folder, "picture_files", "FolderSink"),
    Kind(
        f"a picture ({listed(PICTURE_SUFFIXES)})",
        suffix_in(PICTURE_SUFFIXES),
        "picture_files",
        "PictureSink",
    ),
    Kind(
        f"a video ({listed(VIDEO_SUFFIXES)})",
        _is_video,
        "video_encoder",
        "VideoSink",
        extra="video",
    ),
    Kind("a new folder", _is_new_folder, "picture_files", "FolderSink"),
)


def check_apart(uris: Sequence[str]) -> None:
    """Raise unless every one of `uris` is a place of its own.

    Raises:
        ConfigError: Two sinks would write to one file, folder, device or address.
    """
    taken: dict[object, str] = {}
    for uri in uris:
        place = place_of(uri)
        if place is None:
            continue
        if place in taken:
            raise ConfigError(
                f"--sink {public(uri)} is the same place as {public(taken[place])}; "
                "name another"
            )
        taken[place] = uri


def place_of(uri: str) -> object:
    """Equal for two URIs of one place; None for ``null:``, which nobody minds."""
    path = uri.partition("?")[0]
    if scheme(uri) == "null":
        return None
    if scheme(uri) or is_pipe(uri):
        return path
    real = os.path.realpath(path)
    try:
        found = os.stat(real)  # noqa: PTH116 - the path may be no path
    except (OSError, ValueError):
        return real
    return found.st_dev, found.st_ino


def open_sink(uri: str, info: SourceInfo, options: SinkOptions) -> Sink:
    """Check that frames can be written to `uri`; nothing is created yet.

    Args:
        uri: A path or an URI; see `SINKS`.
        info: What the frames will be like.
        options: What the user asked for.

    Raises:
        UnknownNameError: It is of no kind in `SINKS`.
        MissingDependencyError: Its optional package is not installed.
        MediaError: It must not or cannot be written.
    """
    kind = find(uri, SINKS)
    if kind is None:
        raise UnknownNameError("sink", public(uri), [row.form for row in SINKS])
    factory = load(f"{__name__}.{kind.module}", kind.factory, kind.extra)
    return cast(Sink, factory(uri, info, options))
