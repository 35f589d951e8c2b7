"""Sources and sinks of frames, chosen by how they are written.

A row names the module, which is imported when it is first used: pictures work without
PyAV.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

from derain.core.errors import MediaError, UnknownNameError
from derain.core.lazy import load
from derain.core.pictures import SUFFIXES as PICTURE_SUFFIXES
from derain.runtime.video.frames import Frame, Sink, Source, SourceInfo
from derain.runtime.video.sinks.output_checks import CODEC_FIELD, SinkOptions
from derain.runtime.video.uris import public

__all__ = [
    "SINKS",
    "SOURCES",
    "Entry",
    "Frame",
    "Sink",
    "SinkOptions",
    "Source",
    "SourceInfo",
    "open_sink",
    "open_source",
]

# What people have. FFmpeg reads more; a suffix is enough to tell a video from a typo.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
    }
)
WRITTEN_VIDEO_SUFFIXES = frozenset({".m4v", ".mkv", ".mov", ".mp4"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of source or sink.

    Attributes:
        form: How it is written, for messages.
        matches: Whether an URI or path is of this kind.
        module: Module under `derain.runtime.video`.
        factory: Callable in it: ``factory(uri, fps)`` returns a `Source`,
            ``factory(uri, info, options)`` a `Sink`.
        extra: The ``derain[...]`` extra that installs its dependencies.
    """

    form: str
    matches: Callable[[str], bool]
    module: str
    factory: str
    extra: str = ""


def _suffix_in(suffixes: frozenset[str]) -> Callable[[str], bool]:
    return lambda uri: _scheme(uri) == "" and Path(uri).suffix.lower() in suffixes


def _schemes(*names: str) -> Callable[[str], bool]:
    return lambda uri: _scheme(uri) in names


def _is_pipe(uri: str) -> bool:
    return uri.partition("?")[0] == "-"


def _scheme(uri: str) -> str:
    # Two letters at least: C:\ is a drive.
    match = re.match(r"([a-z][a-z0-9+.-]+):", uri, re.IGNORECASE)
    return match[1].lower() if match and not _exists(uri) else ""


def _exists(uri: str) -> bool:
    try:
        return Path(uri).exists()
    except OSError:  # a pipeline is longer than a file name may be
        return False


def _is_folder(uri: str) -> bool:
    return Path(uri).is_dir()


def _is_glob(uri: str) -> bool:
    return any(sign in uri for sign in "*?[") and not Path(uri).exists()


def _is_written_video(uri: str) -> bool:
    return _suffix_in(WRITTEN_VIDEO_SUFFIXES)(uri.partition(CODEC_FIELD)[0])


def _is_new_folder(uri: str) -> bool:
    return _scheme(uri) == "" and (uri.endswith("/") or Path(uri).suffix == "")


def _list(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))


# The first row that matches is taken.
SOURCES = (
    Entry("test://rain", _schemes("test"), "sources.rendered", "open_test"),
    Entry("camera:0", _schemes("camera", "v4l2"), "sources.camera", "open_camera"),
    Entry("csi://0", _schemes("csi"), "sources.gstreamer", "open_csi", extra="video"),
    Entry(
        "gst:PIPELINE", _schemes("gst"), "sources.gstreamer", "open_gst", extra="video"
    ),
    Entry(
        "rtsp://",
        _schemes("rtsp", "rtsps"),
        "sources.rtsp_http",
        "open_rtsp",
        extra="video",
    ),
    Entry(
        "http://",
        _schemes("http", "https"),
        "sources.rtsp_http",
        "open_http",
        extra="video",
    ),
    Entry(
        "-", _is_pipe, "sources.standard_input", "open_standard_input", extra="video"
    ),
    Entry("a folder of pictures", _is_folder, "sources.pictures", "open_folder"),
    Entry("a glob of pictures", _is_glob, "sources.pictures", "open_glob"),
    Entry(
        f"a picture ({_list(PICTURE_SUFFIXES)})",
        _suffix_in(PICTURE_SUFFIXES),
        "sources.pictures",
        "open_picture",
    ),
    Entry(
        f"a video ({_list(VIDEO_SUFFIXES)})",
        _suffix_in(VIDEO_SUFFIXES),
        "sources.video_decoder",
        "open_video",
        extra="video",
    ),
)
SINKS = (
    Entry("null:", _schemes("null"), "sinks.null", "NullSink"),
    Entry("window:", _schemes("window"), "sinks.window", "WindowSink"),
    Entry(
        "rtsp://", _schemes("rtsp"), "sinks.rtsp_publisher", "RtspSink", extra="video"
    ),
    Entry("v4l2:///dev/video9", _schemes("v4l2"), "sinks.loopback", "LoopbackSink"),
    Entry("-", _is_pipe, "sinks.standard_output", "StandardOutputSink", extra="video"),
    Entry("a folder", _is_folder, "sinks.picture_files", "FolderSink"),
    Entry(
        f"a picture ({_list(PICTURE_SUFFIXES)})",
        _suffix_in(PICTURE_SUFFIXES),
        "sinks.picture_files",
        "PictureSink",
    ),
    Entry(
        f"a video ({_list(WRITTEN_VIDEO_SUFFIXES)})",
        _is_written_video,
        "sinks.video_encoder",
        "VideoSink",
        extra="video",
    ),
    Entry("a new folder", _is_new_folder, "sinks.picture_files", "FolderSink"),
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
    entry = _find("source", uri, SOURCES)
    factory = load(f"derain.runtime.video.{entry.module}", entry.factory, entry.extra)
    return cast(Source, factory(uri, fps))


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
    entry = _find("sink", uri, SINKS)
    factory = load(f"derain.runtime.video.{entry.module}", entry.factory, entry.extra)
    return cast(Sink, factory(uri, info, options))


def _find(kind: str, uri: str, table: tuple[Entry, ...]) -> Entry:
    for entry in table:
        if entry.matches(uri):
            return entry
    if kind == "source" and _scheme(uri) == "" and not Path(uri).exists():
        raise MediaError(f"{uri} does not exist")
    raise UnknownNameError(kind, public(uri), [entry.form for entry in table])
