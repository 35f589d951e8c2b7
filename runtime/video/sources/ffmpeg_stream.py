"""Streams that FFmpeg decodes as they come: from the network, or through a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import av
from av.error import ExitError, FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from derain.core.errors import MediaError, SourceLostError
from derain.core.sizes import Size
from derain.runtime.video.colour import Colour
from derain.runtime.video.frames import DEFAULT_FPS, TIMEOUT_S, Frame, SourceInfo
from derain.runtime.video.sources.sender_clock import SenderClock
from derain.runtime.video.sources.video_decoder import (
    QUICK_SCALER_FLAGS,
    SCALER_FLAGS,
    bgr_image,
    check_pixels,
)

# A decoder that is this late decodes key frames alone, until one is this new. What
# comes late from the network in one go is decoded before it counts as late.
LATE_S = 1.0
CAUGHT_UP_S = 0.2
# FFmpeg's names of containers. Of the first, it makes up the times; the second brings
# seconds at once, to be shown at their times.
_UNSTAMPED = frozenset({"mjpeg", "mpjpeg"})
_IN_BURSTS = frozenset({"hls"})
_ARRIVAL_UNIT = Fraction(1, 90_000)  # RTP's clock for video


class Readable(Protocol):
    """Bytes that come one after the other."""

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most; none at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What FFmpeg is to open.

    Attributes:
        name: What it is called in messages, without credentials.
        url: What FFmpeg opens, or what it reads.
        format: FFmpeg's name of the container; None: it looks.
        options: Of FFmpeg's demuxer and protocol.
        live: Whether the newest frame counts; None: if the stream has no duration.
        stamped: Whether its time stamps, if it has any, tell when a frame was sent.
        endless: Whether an end is a loss.
        timeout_s: How long to wait for the connection, and for data.
    """

    name: str
    url: str | Readable
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    live: bool | None = None
    stamped: bool = True
    endless: bool = True
    timeout_s: float = TIMEOUT_S


class StreamSource:
    """The frames of one connection, each with the moment it was sent.

    Making it connects, and waits for the first frame.

    Args:
        spec: What to open.
        release: Called when it is closed, or cannot be opened.
        interrupt: Makes a read of it return.
        reason: What is known about a failure beside FFmpeg's own words, which it
            replaces.

    Raises:
        MediaError: It cannot be opened, or has no frame that can be decoded.
    """

    def __init__(
        self,
        spec: StreamSpec,
        *,
        release: Callable[[], None] = lambda: None,
        interrupt: Callable[[], None] = lambda: None,
        reason: Callable[[], str] = lambda: "",
    ) -> None:
        self._spec = spec
        self._release = release
        self._interrupt = interrupt
        self._reason = reason
        try:
            self._open()
        except BaseException:
            release()
            raise

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`.

        Raises:
            SourceLostError: A live connection is gone.
            MediaError: The same for one that is not live.
        """
        unit = self.info.time_base
        flags = QUICK_SCALER_FLAGS if self._live else SCALER_FLAGS
        last = end = Fraction(0)
        shown_at: float | None = None
        for index, (decoded, sent) in enumerate(self._all()):
            if self._stamped and decoded.pts is not None:
                now = decoded.pts * unit
            elif self._stamped:
                now = end
            else:
                now = round((sent - self._opened) / unit) * unit
            if index and now <= last:  # a clock that was set back
                now = end if self._stamped else last + unit
                shown_at = None
            duration = (decoded.duration or 0) * unit if self._stamped else Fraction(0)
            if self._paced:
                shown_at = _wait_until(shown_at, float(now))
                sent = time.monotonic()
            image = bgr_image(decoded, self._reformatter, self.info.colour, flags)
            last, end = now, now + (duration or round(1 / self.info.fps / unit) * unit)
            yield Frame(
                image, index, now, duration, captured=sent if self._live else None
            )

    def interrupt(self) -> None:
        """See `Source.interrupt`: FFmpeg has its time limit, and no way in."""
        self._interrupt()

    def close(self) -> None:
        """See `Source.close`."""
        self._container.close()
        self._release()

    def _open(self) -> None:
        spec = self._spec
        self._opened = time.monotonic()
        self._reformatter = VideoReformatter()
        self._sender = SenderClock()
        self._behind = False
        try:
            self._container = av.open(
                spec.url,
                "r",
                format=spec.format,
                # Without fflags=nobuffer: it throws away what was read to look at the
                # stream, the key frame included: 1.1 s instead of 0.4 s until the first
                # frame, with a key frame a second. Frames that come late in one go do
                # not stay late here.
                options=spec.options,
                timeout=(spec.timeout_s, spec.timeout_s),
                metadata_errors="replace",
            )
        except (OSError, FFmpegError) as error:
            raise self._unreadable(error) from None  # FFmpeg's names the password
        try:
            self._video = self._choose_video()
            # Four threads for whole frames hold back three of them; for slices, none.
            self._video.thread_type = "SLICE"
            self._live = (
                self._container.duration is None if spec.live is None else spec.live
            )
            formats = set(self._container.format.name.split(","))
            stamped = spec.stamped and formats.isdisjoint(_UNSTAMPED)
            self._stamped = stamped or not self._live
            self._paced = self._live and not formats.isdisjoint(_IN_BURSTS)
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise MediaError(f"{spec.name} has no frames{self._detail()}")
            self._first = first
            self.info = self._describe(first[0])
        except BaseException:
            self._container.close()
            raise

    def _all(self) -> Iterator[tuple[av.VideoFrame, float]]:
        yield self._first
        yield from self._decoded

    def _decode(self) -> Iterator[tuple[av.VideoFrame, float]]:
        try:
            for packet in self._container.demux(self._video):
                sent = self._sent(packet)
                if self._is_skipped(packet, sent):
                    continue
                try:
                    pictures = packet.decode()
                except InvalidDataError:
                    if not self._live:
                        raise
                    continue  # a lost packet; if it stays like this, no frame comes
                for picture in pictures:
                    yield picture, sent
        except (OSError, FFmpegError) as error:
            seconds = time.monotonic() - self._opened
            kind = SourceLostError if self._live else MediaError
            raise kind(
                f"{self._spec.name} is lost after {seconds:.0f} s: {self._why(error)}"
            ) from None  # FFmpeg's names the password

        if detail := self._detail():
            kind = SourceLostError if self._live else MediaError
            raise kind(f"{self._spec.name} is lost{detail}")

    def _sent(self, packet: Packet[VideoStream]) -> float:
        arrived = time.monotonic()
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not self._stamped or self._paced:
            return arrived
        return self._sender.sent(float(stamp * packet.time_base), arrived)

    def _is_skipped(self, packet: Packet[VideoStream], sent: float) -> bool:
        """Whether there is no time to decode `packet`."""
        if not self._live or not packet.size:
            return False
        late_s = time.monotonic() - sent
        if late_s > LATE_S:
            self._behind = True
        elif packet.is_keyframe and late_s < CAUGHT_UP_S:
            self._behind = False
        return self._behind and not packet.is_keyframe

    def _choose_video(self) -> VideoStream:
        if not self._container.streams.video:
            raise MediaError(f"{self._spec.name} has no video in it")
        stream = self._container.streams.video[0]
        check_pixels(self._spec.name, stream)
        return stream

    def _describe(self, first: av.VideoFrame) -> SourceInfo:
        video, context = self._video, self._video.codec_context
        size = Size(first.width, first.height)
        colour = Colour(
            first.colorspace, context.color_primaries, context.color_trc
        ).resolved(size)
        if first.rotation % 180:
            size = Size(size.height, size.width)
        fps = video.average_rate or video.guessed_rate or DEFAULT_FPS
        assert video.time_base is not None  # only an output stream may lack one
        return SourceInfo(
            description=f"{self._spec.name}, {size}",
            name=self._spec.name,
            time_base=video.time_base if self._stamped else _ARRIVAL_UNIT,
            fps=fps,
            size=size,
            frames=None if self._live else video.frames or None,
            pixel_aspect=video.sample_aspect_ratio or Fraction(1),
            colour=colour,
            live=self._live,
            endless=self._live and self._spec.endless,
            timeout_s=self._spec.timeout_s if self._live else None,
        )

    def _detail(self) -> str:
        reason = self._reason()
        return f": {reason}" if reason else ""

    def _unreadable(self, error: OSError | FFmpegError) -> MediaError:
        # An RTSP server that is cut off is "invalid data" to FFmpeg.
        late = time.monotonic() - self._opened >= self._spec.timeout_s
        why = self._no_answer() if late and not self._reason() else self._why(error)
        return MediaError(f"{self._spec.name} cannot be opened: {why}")

    def _why(self, error: OSError | FFmpegError) -> str:
        if isinstance(error, ExitError):  # PyAV's time limit ends a call like this
            return self._no_answer()
        return self._reason() or error.strerror or type(error).__name__

    def _no_answer(self) -> str:
        return f"no answer for {self._spec.timeout_s:g} s"


def _wait_until(shown_at: float | None, moment: float) -> float:
    """Wait until the stream's `moment`; where its zero lies by our clock.

    A frame that is late moves it: what comes after is shown at its pace.
    """
    now = time.monotonic()
    if shown_at is None or now > shown_at + moment:
        return now - moment
    time.sleep(min(shown_at + moment - now, TIMEOUT_S / 2))
    return shown_at
