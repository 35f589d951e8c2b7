"""Standard output as a sink: Y4M, which every player and encoder reads."""

from __future__ import annotations

import os
import sys

from av.video.reformatter import VideoReformatter

from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks.video_encoder import yuv_picture
from derain.runtime.video.uris import split_fields

# Limited range, chroma between the lines at the left, as the scaler makes it.
_HEADER = (
    "YUV4MPEG2 W{width} H{height} F{fps.numerator}:{fps.denominator} Ip "
    "A{aspect.numerator}:{aspect.denominator} C420mpeg2 XCOLORRANGE=LIMITED\n"
)


class StandardOutputSink:
    """Writes the frames to standard output, and nothing else.

    From the first frame on, whatever this process prints goes to standard error; also
    after `close`, so that nothing follows the last frame. Y4M has no time stamps: the
    rate is that of the source, and every frame lasts as long as the others. Who reads
    the pipe sets the pace.

    Raises:
        MediaError: Standard output is a terminal.
    """

    name = "-"
    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        split_fields(uri, "-", {})
        if os.isatty(1):
            raise MediaError(
                "standard output is a terminal; pipe it into a program that reads Y4M, "
                "such as: | ffplay -"
            )
        self._info = info
        self._reformatter = VideoReformatter()
        self._size: Size | None = None
        self._output: int | None = None

    def write(self, frame: Frame) -> None:
        """See `Sink.write`. All frames must have the size of the first."""
        if self._size is None:
            self._open(frame.size)
        if frame.size != self._size:
            raise MediaError(
                f"{frame} is {frame.size}, the video on standard output is "
                f"{self._size}; a video has one size"
            )
        picture = yuv_picture(frame.image, self._reformatter, self._info.colour)
        self._put(b"FRAME\n")
        self._put(picture.to_ndarray().tobytes())

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""
        if self._output is not None:
            os.close(self._output)
            self._output = None

    def _open(self, size: Size) -> None:
        sys.stdout.flush()
        self._output = os.dup(1)
        os.dup2(2, 1)
        self._size = size
        header = _HEADER.format(
            width=size.width + size.width % 2,
            height=size.height + size.height % 2,
            fps=self._info.fps.limit_denominator(1_000_000),
            aspect=self._info.pixel_aspect,
        )
        self._put(header.encode("ascii"))

    def _put(self, data: bytes) -> None:
        assert self._output is not None  # write opens it
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._output, rest) :]
        except OSError as error:
            raise MediaError(
                f"standard output cannot be written: {error.strerror}"
            ) from error
