"""The audio of a source in the video that is written."""

from contextlib import closing
from fractions import Fraction

import pytest

pytest.importorskip("av")

from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
from derain.runtime.video.sources import open_source

AAC_BLOCK = 1024  # samples in a packet, and the delay of the encoder


def copy(source_path, sink_path, *, frames=None):
    """A run without a network, of the first `frames` frames; None: to the end."""
    with closing(open_source(str(source_path))) as source:
        sink = open_sink(str(sink_path), source.info, SinkOptions())
        with closing(sink):
            for frame in source:
                if frame.index == frames:
                    return sink_path
                sink.write(frame)
            sink.finish()
    return sink_path


@pytest.mark.parametrize(
    ("codec", "container", "output"),
    [
        ("aac", "mp4", "mp4"),
        ("aac", "ts", "mp4"),
        ("libmp3lame", "mkv", "mp4"),
        ("libopus", "mkv", "mp4"),
        ("flac", "mkv", "mp4"),
        ("aac", "mp4", "mkv"),
        ("aac", "mp4", "mov"),
    ],
)
def test_packets_are_copied(tmp_path, make_video, play, codec, container, output):
    source = make_video(tmp_path / f"in.{container}", frames=50, audio=codec)
    before, after = play(source), play(copy(source, tmp_path / f"out.{output}"))
    assert after.audio_codecs == before.audio_codecs
    # A transport stream has a header before each packet, which MP4 leaves out.
    header = 7 if container == "ts" else 0
    assert after.audio_bytes == [packet[header:] for packet in before.audio_bytes]
    # Relative to the video, to a millisecond where Matroska or an edit list rounds.
    for a, b in zip(after.audio_times, before.audio_times, strict=True):
        shift = before.times[0] - after.times[0]
        assert abs(a - b + shift) <= Fraction(1, 1000)


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2"])
def test_what_mp4_does_not_take_becomes_aac(tmp_path, make_video, play, codec):
    source = make_video(tmp_path / "in.mkv", frames=50, audio=codec)
    before, after = play(source), play(copy(source, tmp_path / "out.mp4"))
    assert after.audio_codecs == ["aac"]
    assert abs(after.samples - before.samples) <= 2 * AAC_BLOCK
    assert after.times == before.times


def test_a_rate_aac_does_not_have_is_resampled(tmp_path, make_video, play):
    source = make_video(
        tmp_path / "in.mkv", frames=50, audio="pcm_s16le", audio_rate=96_000
    )
    before, after = play(source), play(copy(source, tmp_path / "out.mp4"))
    assert abs(after.samples - before.samples / 2) <= 2 * AAC_BLOCK


def test_audio_that_goes_on_after_the_video_is_kept(tmp_path, make_video, play):
    source = make_video(tmp_path / "in.mp4", audio="aac", audio_seconds=3)
    after = play(copy(source, tmp_path / "out.mp4"))
    assert after.audio_bytes == play(source).audio_bytes
    assert after.audio_times[-1] > 2.9


def test_audio_ends_with_the_video_when_stopped_early(tmp_path, make_video, play):
    source = make_video(tmp_path / "in.mp4", frames=100, audio="aac")
    copy(source, tmp_path / "out.mp4", frames=25)
    after = play(tmp_path / "out.partial.mp4")
    assert len(after.times) == 25
    assert 0.95 < after.audio_times[-1] < 1.0


def test_audio_ends_at_the_limit_of_the_video(
    tmp_path, make_video, invoke, bundles, play
):
    source = make_video(tmp_path / "in.mp4", frames=100, audio="aac")
    result = invoke(
        *(bundles("darken"), "--source", source, "--limit", 25),
        *("--sink", tmp_path / "out.mp4"),
    )
    assert result.exit_code == 0, result.stderr
    after = play(tmp_path / "out.mp4")
    assert len(after.times) == 25
    assert 0.95 < after.audio_times[-1] < 1.0


def test_an_audio_stream_without_packets_is_left_out(tmp_path, make_video, play):
    av = pytest.importorskip("av")
    path = make_video(tmp_path / "video.mp4", frames=100)
    with av.open(str(tmp_path / "in.mkv"), "w") as file, av.open(str(path)) as video:
        stream = file.add_stream_from_template(video.streams.video[0])
        file.add_stream("aac", rate=48000).layout = "stereo"
        for packet in video.demux():
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    after = play(copy(tmp_path / "in.mkv", tmp_path / "out.mp4"))
    assert len(after.times) == 100
    assert after.audio_codecs == []


def test_video_waits_for_no_audio(tmp_path, make_video, play, monkeypatch):
    """All audio before all video: nothing of it may pile up in memory."""
    av = pytest.importorskip("av")
    from derain.runtime.video.sinks.audio import AudioTracks

    source = make_video(tmp_path / "a.mp4", frames=250, audio="aac")
    with av.open(str(source)) as file, av.open(str(tmp_path / "in.mp4"), "w") as out:
        streams = [out.add_stream_from_template(stream) for stream in file.streams]
        packets = [packet for packet in file.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: -packet.stream.index):
            packet.stream = streams[packet.stream.index]
            out.mux_one(packet)
    asked = []
    mux_until = AudioTracks.mux_until
    monkeypatch.setattr(
        AudioTracks,
        "mux_until",
        lambda self, time: (asked.append(time), mux_until(self, time)),
    )
    before, after = play(source), play(copy(tmp_path / "in.mp4", tmp_path / "out.mp4"))
    assert after.audio_bytes == before.audio_bytes
    assert len(asked) >= 250  # before every frame
