"""The audio of a source, brought along into the video that is written."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from derain.runtime.video.sources.video_decoder import clock_start, open_container

# Codecs whose packets are copied, by output suffix; anything else becomes AAC.
_MP4_CODECS = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})
COPIED = {
    ".m4v": _MP4_CODECS,
    ".mp4": _MP4_CODECS,
    ".mov": frozenset({"aac", "ac3", "alac", "mp3", "pcm_s16le", "pcm_s24le"}),
    ".mkv": _MP4_CODECS | {"dts", "mp2", "pcm_s16le", "pcm_s24le", "truehd", "vorbis"},
}
_AAC_BITS_PER_CHANNEL = 96_000
_AAC_RATE = 48_000  # for audio of any other rate
_AAC_RATES = frozenset({16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
_AAC_LAYOUTS = frozenset({"mono", "stereo", "5.1"})


class AudioTracks:
    """Every audio stream of the file at `path`, muxed into `output` in step with it.

    The file is opened a second time for this, so that no packet has to wait in memory
    for the video, however the file is interleaved. Damage is left to whoever reads the
    video to report: here a broken packet is left out, and a broken file ends.

    Raises:
        MediaError: The file cannot be opened.
        FFmpegError: `output` takes no such stream.
    """

    def __init__(self, path: Path, output: OutputContainer, suffix: str) -> None:
        self._output = output
        self._input = open_container(path)
        self._copies: dict[int, AudioStream] = {}
        self._filters: dict[int, BitStreamFilterContext] = {}
        self._encoders: dict[int, AudioStream] = {}
        try:
            self._start = clock_start(self._input)
            self._packets = self._demux()
            # A stream that never sends a packet would hold back all that is muxed.
            self._next = next(self._packets, None)
            if self._next is not None:
                for stream in self._input.streams.audio:
                    self._connect(stream, COPIED[suffix])
        except BaseException:
            self._input.close()
            raise

    def mux_until(self, time: Fraction | None) -> None:
        """Mux all packets that start before `time`, in seconds; None: all there are."""
        while self._next is not None:
            if time is not None and self._time(self._next) >= time:
                return
            self._mux(self._next)
            self._next = next(self._packets, None)

    def flush(self) -> None:
        """Mux what the decoders and encoders still hold."""
        for index, encoder in self._encoders.items():
            source = cast(AudioStream, self._input.streams[index])
            self._encode(encoder, source.decode(None))
            self._output.mux(encoder.encode(None))

    def close(self) -> None:
        """Close the file. Calling it twice is harmless."""
        self._input.close()

    def _connect(self, stream: AudioStream, copied: frozenset[str]) -> None:
        context = stream.codec_context
        if context is None:  # a codec this FFmpeg does not know
            return
        if context.codec.canonical_name in copied:
            self._copies[stream.index] = self._output.add_stream_from_template(stream)
            if context.codec.canonical_name == "aac" and not context.extradata:
                # From a transport stream: each packet has a header instead. FFmpeg
                # strips it by itself only for files that are not fragmented.
                self._filters[stream.index] = BitStreamFilterContext(
                    "aac_adtstoasc", stream
                )
            return
        layout = context.layout.name
        encoder = self._output.add_stream(
            "aac", rate=context.rate if context.rate in _AAC_RATES else _AAC_RATE
        )
        encoder.layout = layout if layout in _AAC_LAYOUTS else "stereo"
        encoder.bit_rate = _AAC_BITS_PER_CHANNEL * encoder.layout.nb_channels
        self._encoders[stream.index] = encoder

    def _demux(self) -> Iterator[Packet[AudioStream]]:
        try:
            for packet in self._input.demux(*self._input.streams.audio):
                if packet.pts is not None and packet.size and not packet.is_corrupt:
                    yield cast("Packet[AudioStream]", packet)
        except FFmpegError:
            return

    def _time(self, packet: Packet[AudioStream]) -> Fraction:
        assert packet.pts is not None  # see _demux
        return packet.pts * packet.time_base - self._start

    def _mux(self, packet: Packet[AudioStream]) -> None:
        index = packet.stream.index
        if index in self._copies:
            shift = round(self._start / packet.time_base)
            assert packet.pts is not None  # see _demux
            packet.pts -= shift
            packet.dts = packet.pts  # audio is never reordered
            bare = (
                self._filters[index].filter(packet)
                if index in self._filters
                else [packet]
            )
            for each in bare:
                each.stream = self._copies[index]
                self._output.mux(each)
        elif index in self._encoders:
            try:
                frames = packet.decode()
            except FFmpegError:
                return
            self._encode(self._encoders[index], frames)

    def _encode(self, encoder: AudioStream, frames: list[AudioFrame]) -> None:
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(self._start / frame.time_base)
            self._output.mux(encoder.encode(frame))
