"""Video files as a sink: H.264 that a browser plays, with the audio of the source.

``out.mp4?codec=hevc`` writes HEVC instead.

- Frame times are kept as they are, variable rates included: the clock of the output
  ticks in the source's time base (in milliseconds in Matroska, which knows no other),
  and no frame is reordered.
- H.264 for browsers is 4:2:0 and has even sizes: of an odd width or height, the last
  column or row is repeated.
- Colours keep the matrix and tags of the source, in limited range.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.colour import FULL_RANGE, LIMITED_RANGE, Colour
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import CODEC_FIELD, CODECS, SinkOptions
from derain.runtime.video.sinks.muxing import VideoFile
from derain.runtime.video.sinks.output_checks import check_new_file
from derain.runtime.video.sources.video_decoder import SCALER_FLAGS


class VideoSink:
    """Writes the frames to the video file at `uri`, which appears when it is whole.

    Until then, and where the run is stopped, it has a name that says so.

    Raises:
        MediaError: The file must not or cannot be written.
    """

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        place, mark, codec = uri.partition(CODEC_FIELD)
        if mark and codec not in CODECS:
            raise MediaError(
                f"{uri}: codec {codec!r} is not known; choose from {', '.join(CODECS)}"
            )
        self._path = Path(place)
        self._info = info
        self._options = replace(options, codec=codec) if mark else options
        self._reformatter = VideoReformatter()
        self._output: VideoFile | None = None
        self._size: Size | None = None
        self._whole = False  # whether the run came to its end
        self._left: int | None = options.limit  # frames that may come yet
        self._last_pts: int | None = None
        self._closed = False
        self._end = Fraction(0)
        self._place = place
        self.notes: tuple[str, ...] = ()
        check_new_file(self._path, info, options)

    @property
    def name(self) -> str:
        """See `Sink.name`; once it is closed, where what came of it is."""
        if self._output is None or not self._closed:
            return self._place
        return str(self._output.path)

    @property
    def keeps(self) -> bool:
        """See `Sink.keeps`; False when a failure left nothing that plays."""
        return self._output is None or self._output.path.exists()

    def write(self, frame: Frame) -> None:
        """See `Sink.write`. All frames must have the size of the first."""
        output = self._output or self._open(frame.size)
        if frame.size != self._size:
            live = frame.captured is not None
            todo = "use --resize" if live else "name a folder for pictures of several"
            raise MediaError(
                f"{frame} is {frame.size}, the video is {self._size}; a video has one "
                f"size: {todo}"
            )
        output.encode(self._convert(frame))
        self._end = frame.time + frame.duration
        if self._left is not None:
            self._left -= 1

    def finish(self) -> None:
        """See `Sink.finish`."""
        self._whole = True

    def close(self) -> None:
        """See `Sink.close`."""
        if self._output is None or self._closed:
            return
        self._closed = True
        # Up to a limit, there is audio that belongs to frames which were not wanted.
        end = None if self._whole and self._left != 0 else self._end
        self._output.close(end, whole=self._whole)
        if not self._whole:
            self.notes += (
                f"{self._place} is not whole: what was finished is {self.name}",
            )

    def _open(self, size: Size) -> VideoFile:
        even = Size(size.width + size.width % 2, size.height + size.height % 2)
        if even != size:
            self.notes = (
                f"{CODECS[self._options.codec]} needs even sizes: the video is {even}, "
                f"with the last column or row of the {size} frames repeated",
            )
        self._size = size
        self._output = VideoFile(self._path, even, self._info, self._options)
        return self._output

    def _convert(self, frame: Frame) -> av.VideoFrame:
        time_base = self._info.time_base
        coded = yuv_picture(frame.image, self._reformatter, self._info.colour)
        coded.time_base = time_base
        pts = round(frame.time / time_base)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = coded.pts = pts
        coded.duration = round(frame.duration / time_base)
        return coded


def yuv_picture(
    image: NDArray[np.uint8], reformatter: VideoReformatter, colour: Colour
) -> av.VideoFrame:
    """`image` as encoders take it: planar 4:2:0 of an even size, in limited range.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        reformatter: One for all frames of a video.
        colour: How the colours are to be coded.
    """
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return reformatter.reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24"),
        format="yuv420p",
        src_color_range=FULL_RANGE,
        dst_colorspace=colour.matrix,
        dst_color_range=LIMITED_RANGE,
        interpolation=SCALER_FLAGS,
    )
