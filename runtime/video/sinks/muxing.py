"""One video file being written: encoder, audio tracks and container.

The file is written in fragments of a second and becomes an ordinary MP4 when it is
completed: after a power cut or on a full disk, the fragments play.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.colour import LIMITED_RANGE
from derain.runtime.video.frames import SourceInfo
from derain.runtime.video.sink_options import CODECS, SinkOptions
from derain.runtime.video.sinks.audio import AudioTracks
from derain.runtime.video.sinks.safe_file import SafeFile, cut_to_whole_fragments

_FORMATS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
_PRESET = "veryfast"  # the processor is the network's; the file is a tenth larger
_KEY_FRAME_S = 2  # seconds between key frames: how finely a player can seek
_FRAGMENT_US = 1_000_000

# With delay_moov, the index can hold the edit lists that keep timestamps as they are.
HYBRID = "hybrid_fragmented+delay_moov"
FRAGMENTED = "frag_keyframe+empty_moov+delay_moov"
# FFmpeg before 8.1 (in PyAV before 17.1) writes hybrid files that do not play when they
# have an edit list, and patches the front before the index is safe: the file stays
# fragmented there.
MOVFLAGS = HYBRID if av.library_versions["libavformat"] >= (62, 12, 0) else FRAGMENTED


@dataclass(frozen=True, slots=True)
class _Encoder:
    name: str
    options: dict[str, str]
    tag: str = ""  # in MP4 and its kin, where not FFmpeg's own


_ENCODERS = {
    "h264": _Encoder("libx264", {}),
    # Without B-frames, x265 still holds back frames to look ahead; it also prints.
    "hevc": _Encoder(
        "libx265",
        {"x265-params": "log-level=none"},
        tag="hvc1",  # Apple's players take no other
    ),
}


class VideoFile:
    """H.264 or HEVC video of one size, with the audio of the source, at `path`.

    It has another name until it is whole: see `SafeFile`.

    Raises:
        MediaError: The file cannot be created, FFmpeg has no such encoder, or it
            refuses the size.
    """

    def __init__(
        self, path: Path, size: Size, info: SourceInfo, options: SinkOptions
    ) -> None:
        self._path = path
        self._replace = options.force
        self._file = SafeFile(path)
        self._open_parts = contextlib.ExitStack()
        self._audio: AudioTracks | None = None
        self._failed = False
        with self._errors():
            self._open(size, info, options)

    @property
    def path(self) -> Path:
        """Where it is now."""
        return self._file.path

    def encode(self, frame: av.VideoFrame) -> None:
        """Encode and write the next frame, and the audio up to it.

        Raises:
            MediaError: It cannot be written. The file is closed, and what plays of it
                is kept.
        """
        with self._errors():
            self._mux(frame)

    def close(self, end: Fraction | None, *, whole: bool) -> None:
        """Write what is left, and close. After an error, it does nothing.

        Args:
            end: Of the audio, in seconds; None: all there is.
            whole: Whether it is all that was wanted, and takes its name.

        Raises:
            MediaError: It cannot be written; what plays is kept.
        """
        if self._failed:
            return
        with self._errors():
            self._mux(None)
            if self._audio is not None:
                self._audio.mux_until(end)
                self._audio.flush()
            self._open_parts.close()
            if self._file.error:  # FFmpeg before 8.1 does not tell
                raise self._file.error
        try:
            if whole:
                self._file.complete(replace=self._replace)
            else:
                self._file.keep_partial()
        except OSError as error:
            self._file.keep_partial()
            reason = error.strerror or error
            raise MediaError(f"{self._path} cannot be written: {reason}") from error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            self._abandon()
            if isinstance(error, MediaError):
                raise
            reason = error.strerror or error
            raise MediaError(f"{self._path} cannot be written: {reason}") from error
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        self._failed = True
        self._file.refuse()  # the index would be written over a file that lacks data
        with contextlib.suppress(FFmpegError, OSError):
            self._open_parts.close()
        self._file.close()
        path = self._file.path
        if path.suffix.lower() != ".mkv" and path.is_file():
            cut_to_whole_fragments(path)
        self._file.keep_partial()

    def _open(self, size: Size, info: SourceInfo, options: SinkOptions) -> None:
        suffix = self._path.suffix.lower()
        mov_options = {
            "movflags": MOVFLAGS,
            "frag_duration": str(_FRAGMENT_US),
            "use_editlist": "1",
            # In milliseconds by default, which would round the start of the video.
            "movie_timescale": str(math.lcm(info.time_base.denominator, 1000)),
        }
        mkv_options = {"cluster_time_limit": str(_FRAGMENT_US // 1000)}
        self._container = av.open(
            self._file,
            "w",
            format=_FORMATS[suffix],
            options={
                "flush_packets": "1",
                **(mkv_options if suffix == ".mkv" else mov_options),
            },
        )
        self._open_parts.callback(self._container.close)
        self._video = _add_video(self._container, size, info, options)
        if info.audio is not None:
            self._audio = AudioTracks(info.audio, self._container, suffix)
            self._open_parts.callback(self._audio.close)
        self._container.start_encoding()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._video.encode(frame):
            if self._audio is not None and packet.dts is not None:
                self._audio.mux_until(packet.dts * packet.time_base)
            self._container.mux(packet)


def _add_video(
    container: OutputContainer, size: Size, info: SourceInfo, options: SinkOptions
) -> VideoStream:
    encoder = _ENCODERS[options.codec]
    frames = str(math.ceil(_KEY_FRAME_S * info.fps))
    try:
        added = container.add_stream(
            encoder.name,
            rate=info.fps.limit_denominator(1_000_000),
            options={
                "crf": str(options.crf),
                "preset": _PRESET,
                "bf": "0",  # frames are muxed in the order they are shown
                "g": frames,
                **encoder.options,
            },
        )
    except UnknownCodecError as error:
        raise MediaError(
            f"this FFmpeg cannot encode {CODECS[options.codec]} (no {encoder.name}); "
            "run: pip install --force-reinstall av"
        ) from error
    video = cast(VideoStream, added)
    context = video.codec_context
    if encoder.tag and container.format.name in ("mov", "mp4"):
        context.codec_tag = encoder.tag
    context.width, context.height = size.width, size.height
    context.pix_fmt = "yuv420p"
    context.time_base = info.time_base
    context.sample_aspect_ratio = info.pixel_aspect
    context.colorspace = info.colour.matrix
    context.color_primaries = info.colour.primaries
    context.color_trc = info.colour.transfer
    context.color_range = LIMITED_RANGE
    return video
