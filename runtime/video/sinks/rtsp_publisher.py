"""``rtsp://`` as a sink: H.264, published to a server such as MediaMTX."""

from __future__ import annotations

import contextlib
import math
import threading
import time

import av
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from derain.core.bounded_queue import BoundedQueue
from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.colour import LIMITED_RANGE
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks.video_encoder import yuv_picture
from derain.runtime.video.uris import public

TIMEOUT_S = 5.0  # for the server to take something
_KEY_FRAME_S = 1  # how long who joins waits for a picture


class RtspSink:
    """Publishes the newest frame over TCP; a file's frames at their times.

    A thread talks to the server: FFmpeg's writing has no time limit, and a server that
    hangs must not stop the run.
    """

    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        uri: str,
        info: SourceInfo,
        options: SinkOptions,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._url = uri
        self.name = public(uri)
        self._info = info
        self._crf = options.crf
        self._timeout_s = timeout_s
        self._queue: BoundedQueue[Frame] = BoundedQueue(1, waits=False)
        self._thread: threading.Thread | None = None
        self._connected = threading.Event()  # or failed
        self._busy_since: float | None = None
        self._error: MediaError | None = None
        self._started: float | None = None

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(frame.size,), name=self.name, daemon=True
            )
            self._thread.start()
            if not self._connected.wait(2 * self._timeout_s):
                raise self._stuck()
        if not self._info.live:
            self._pace(frame)
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > self._timeout_s:
            raise self._stuck()
        if self._error is not None:
            raise self._error
        self._queue.put(frame)

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`; a server that hangs is left behind."""
        self._queue.end()
        if self._thread is not None:
            self._thread.join(self._timeout_s)

    def _pace(self, frame: Frame) -> None:
        if self._started is None:
            self._started = time.monotonic() - float(frame.time)
        time.sleep(max(0.0, self._started + float(frame.time) - time.monotonic()))

    def _stuck(self) -> MediaError:
        return MediaError(f"{self.name} takes nothing for {self._timeout_s:g} s")

    def _run(self, size: Size) -> None:
        try:
            with contextlib.closing(
                _Publication(self._url, self._info, size, self._crf)
            ) as publication:
                self._connected.set()
                while (frame := self._queue.get()) is not None:
                    self._busy_since = time.monotonic()
                    publication.send(frame)
                    self._busy_since = None
                self._busy_since = time.monotonic()
        except (OSError, FFmpegError) as error:
            reason = str(error) if isinstance(error, MediaError) else error.strerror
            self._error = MediaError(f"{self.name} cannot be written: {reason}")
        finally:
            self._busy_since = None
            self._queue.cancel()
            self._connected.set()


class _Publication:
    def __init__(self, url: str, info: SourceInfo, size: Size, crf: int) -> None:
        self._info = info
        self._size = size
        self._reformatter = VideoReformatter()
        self._last_pts: int | None = None
        self._container = av.open(
            url, "w", format="rtsp", options={"rtsp_transport": "tcp"}
        )
        try:
            video = self._container.add_stream(
                "libx264",
                rate=info.fps.limit_denominator(1_000_000),
                options={
                    "preset": "veryfast",
                    "tune": "zerolatency",
                    "crf": str(crf),
                    "g": str(math.ceil(_KEY_FRAME_S * info.fps)),
                },
            )
            context = video.codec_context
            context.width = size.width + size.width % 2
            context.height = size.height + size.height % 2
            context.pix_fmt = "yuv420p"
            context.time_base = info.time_base
            context.colorspace = info.colour.matrix
            context.color_primaries = info.colour.primaries
            context.color_trc = info.colour.transfer
            context.color_range = LIMITED_RANGE
            self._video = video
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise

    def send(self, frame: Frame) -> None:
        if frame.size != self._size:
            todo = "" if frame.captured is None else ": use --resize"
            raise MediaError(
                f"{frame} is {frame.size}, the stream is {self._size}; it has one size"
                f"{todo}"
            )
        picture = yuv_picture(frame.image, self._reformatter, self._info.colour)
        pts = round(frame.time / self._info.time_base)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = picture.pts = pts
        picture.time_base = self._info.time_base
        self._container.mux(self._video.encode(picture))

    def close(self) -> None:
        self._container.close()
