"""Video files as a source, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from derain.core.errors import MediaError
from derain.core.pictures import MOST_PIXELS
from derain.core.reading import check_file
from derain.core.sizes import Size
from derain.runtime.video.colour import BT601, FULL_RANGE, LIMITED_RANGE, Colour
from derain.runtime.video.frames import DEFAULT_FPS, Frame, SourceInfo
from derain.runtime.video.sources.container_walks import find_flaw
from derain.runtime.video.uris import refuse_rate

_log = logging.getLogger(__name__)

# Bicubic, with exact rounding and every pixel's own chroma: colours come back within
# one level, for 4 ms a frame of 1280x720. (SWS_BICUBIC | SWS_ACCURATE_RND |
# SWS_FULL_CHR_H_INT; not all of them have a name in PyAV 15.)
SCALER_FLAGS = 0x4 | 0x40000 | 0x2000
# The same with one chroma for two pixels: 2.0 ms instead of 5.5 ms from planar 4:2:0 of
# 1280x720, and 42.7 dB instead of 45.3 dB of what was coded. For live streams.
QUICK_SCALER_FLAGS = 0x4 | 0x40000

# Transport streams show the clock of the broadcast, and may start at any hour.
BROADCAST = frozenset({"mpegts", "mpeg"})
# Whose headers state how long they last, where FFmpeg guesses it of others; and how
# much of that may be missing, in frames: a last frame's duration is often not stated.
_TIMED = frozenset({"asf", "flv", "matroska"})
_SHORT_FRAMES = 3


def open_video(uri: str, fps: Fraction | None = None) -> VideoSource:
    """The video file `uri`.

    Raises:
        MediaError: `fps` is given, or see `VideoSource`.
    """
    refuse_rate(uri, fps)
    return VideoSource(Path(uri))


def open_container(path: Path) -> InputContainer:
    """The file `path`, opened for demuxing; the caller closes it.

    Raises:
        MediaError: It is missing, no file, or nothing that FFmpeg reads.
    """
    try:
        check_file(path)
        return av.open(str(path), metadata_errors="replace")
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    except FFmpegError as error:
        raise MediaError(
            f"{path} is not a video that can be decoded, or is cut short: "
            f"{error.strerror}"
        ) from error


def check_pixels(name: str, stream: VideoStream) -> None:
    """Raise if the frames of `stream` are larger than anything that is derained.

    Its header may claim what there is no memory for.

    Raises:
        MediaError: They are.
    """
    context = stream.codec_context
    if context.width * context.height > MOST_PIXELS:
        raise MediaError(
            f"{name} claims frames of {context.width}x{context.height} pixels; at most "
            f"{MOST_PIXELS / 1e6:.0f} megapixels are decoded"
        )


def clock_start(container: InputContainer) -> Fraction:
    """The time that counts as zero, in seconds, the same for video and audio.

    It is 0, so that timestamps are kept as they are, except for broadcasts.
    """
    if BROADCAST.isdisjoint(container.format.name.split(",")):
        return Fraction(0)
    starts = [
        stream.start_time * stream.time_base
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0))


class VideoSource:
    """The frames of a video file's first video stream, upright and in display order.

    Raises:
        MediaError: The file is missing, cannot be decoded, or has no frame.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = open_container(path)
        try:
            self._stream = self._choose_stream()
            self._stream.thread_type = "AUTO"
            self._reformatter = VideoReformatter()
            self._clock_start = clock_start(self._container)
            self._decoded = self._decode()
            self._count = 0
            self._last = self._end = Fraction(0)
            first = next(self._decoded, None)
            if first is None:
                raise MediaError(f"{path} has no frames")
            self._first = first
            self.info = self._describe(first)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        yield self._frame(self._first)
        for decoded in self._decoded:
            yield self._frame(decoded)

    def interrupt(self) -> None:
        """See `Source.interrupt`: nothing here waits for long."""

    def close(self) -> None:
        """See `Source.close`."""
        self._container.close()

    def _choose_stream(self) -> VideoStream:
        for stream in self._container.streams.video:
            if not stream.disposition & Disposition.attached_pic:  # cover art
                check_pixels(str(self._path), stream)
                return stream
        raise MediaError(f"{self._path} has no video in it")

    def _decode(self) -> Iterator[av.VideoFrame]:
        broadcast = self._is(*BROADCAST)
        clean = torn = 0  # frames; before the first clean one, they may miss another
        try:
            for packet in self._container.demux(self._stream):
                # A broadcast may lose a packet and go on; a file may not.
                if packet.is_corrupt and not broadcast:
                    raise self._damaged("a packet is incomplete")
                for picture in packet.decode():
                    clean += not picture.is_corrupt
                    torn += picture.is_corrupt and bool(clean)
                    yield picture
        except FFmpegError as error:
            raise self._damaged(error.strerror or str(error)) from error
        try:
            flaw = find_flaw(self._path)
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        if flaw is not None and (flaw.is_cut or not broadcast):
            raise self._damaged(flaw.text)
        if broadcast and (flaw is not None or torn):
            _log.warning(
                f"{self._path}: parts of it were lost before it was a file; "
                f"{torn or 'some'} frames are incomplete or missing"
            )
        elif torn or (self._count and not clean):
            raise self._damaged(f"{torn or self._count} of its frames are incomplete")
        if missing := self._missing():
            raise self._damaged(f"its last {float(missing):.3g} s are missing")

    def _missing(self) -> Fraction:
        """How much earlier the video ends than the file says, in seconds; 0: not."""
        container = self._container
        stated = container.duration
        # A sound may last longer than the picture.
        if stated is None or len(container.streams) > 1 or not self._is(*_TIMED):
            return Fraction(0)
        missing = Fraction(stated, av.time_base) - self._end
        return missing if missing > _SHORT_FRAMES / self.info.fps else Fraction(0)

    def _is(self, *formats: str) -> bool:
        return not set(formats).isdisjoint(self._container.format.name.split(","))

    def _damaged(self, reason: str) -> MediaError:
        where = (
            f"after frame {self._count - 1}" if self._count else "at its first frame"
        )
        return MediaError(f"{self._path} is damaged or cut short {where}: {reason}")

    def _describe(self, first: av.VideoFrame) -> SourceInfo:
        stream, context = self._stream, self._stream.codec_context
        size = Size(first.width, first.height)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        colour = Colour(
            first.colorspace, context.color_primaries, context.color_trc
        ).resolved(size)
        if first.rotation % 180:
            size, aspect = Size(size.height, size.width), 1 / aspect
        fps = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
        assert stream.time_base is not None  # only an output stream may lack one
        return SourceInfo(
            description=f"{self._path}, {size}, {float(fps):.4g} frames/s",
            time_base=stream.time_base,
            fps=fps,
            size=size,
            frames=self._estimate_frames(fps),
            pixel_aspect=aspect,
            colour=colour,
            audio=self._path if self._container.streams.audio else None,
            files=(self._path,),
        )

    def _estimate_frames(self, fps: Fraction) -> int | None:
        stream = self._stream
        if self._is("mov") and stream.frames:
            return stream.frames
        if stream.duration is not None and stream.time_base is not None:
            return max(1, round(stream.duration * stream.time_base * fps))
        if self._container.duration is not None:
            return max(1, round(self._container.duration * fps / av.time_base))
        return None

    def _frame(self, decoded: av.VideoFrame) -> Frame:
        info, index = self.info, self._count
        self._count += 1
        duration = decoded.duration * info.time_base or 1 / info.fps
        time = self._end
        if decoded.pts is not None:
            time = decoded.pts * info.time_base - self._clock_start
            if index and time <= self._last:  # a broken clock: go on at the usual pace
                time = self._end
        self._last, self._end = time, time + duration
        return Frame(self._image(decoded), index, time, duration)

    def _image(self, decoded: av.VideoFrame) -> NDArray[np.uint8]:
        return bgr_image(decoded, self._reformatter, self.info.colour)


def bgr_image(
    decoded: av.VideoFrame,
    reformatter: VideoReformatter,
    colour: Colour,
    flags: int = SCALER_FLAGS,
) -> NDArray[np.uint8]:
    """The picture in `decoded`, `(H, W, 3)` uint8 BGR, upright.

    Args:
        decoded: What the decoder gave.
        reformatter: One for all frames of a stream.
        colour: How the stream's colours are coded.
        flags: Of swscale.
    """
    source_range = decoded.color_range or (
        FULL_RANGE if decoded.format.is_rgb else LIMITED_RANGE
    )
    bgr = reformatter.reformat(
        decoded,
        format="bgr24",
        src_colorspace=colour.matrix,
        # Says nothing for BGR, but PyAV before 17 drops the above where the two are
        # equal, as they are when this is left out, and the ranges are too.
        dst_colorspace=BT601.matrix,
        src_color_range=source_range,
        dst_color_range=FULL_RANGE,
        interpolation=flags,
    )
    image = cast(NDArray[np.uint8], bgr.to_ndarray())
    quarter_turns = round(decoded.rotation / 90) % 4
    if quarter_turns:
        image = np.ascontiguousarray(np.rot90(image, quarter_turns))
    return image
