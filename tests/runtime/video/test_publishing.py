"""Publishing to a real RTSP server on this machine."""

import time
from contextlib import closing, suppress
from fractions import Fraction

import pytest

av = pytest.importorskip("av")

from derain.core.errors import MediaError  # noqa: E402
from derain.runtime.video.frames import Frame, SourceInfo  # noqa: E402
from derain.runtime.video.sink_options import SinkOptions  # noqa: E402
from derain.runtime.video.sinks import open_sink, rtsp_publisher  # noqa: E402

FPS = 50
CLIP = SourceInfo(description="", time_base=Fraction(1, FPS), fps=Fraction(FPS))
LIVE = SourceInfo(
    description="", time_base=Fraction(1, FPS), fps=Fraction(FPS), live=True
)


def frame(image, index):
    return Frame(image, index, Fraction(index, FPS), captured=time.monotonic())


@pytest.fixture
def sent(monkeypatch):
    """The indices of the frames that went to the server."""
    indices, send = [], rtsp_publisher._Publication.send

    def watched(publication, frame):
        send(publication, frame)
        indices.append(frame.index)

    monkeypatch.setattr(rtsp_publisher._Publication, "send", watched)
    return indices


def recorded(path, play, frames):
    """What the server has written once it holds `frames`; it writes behind."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.1)
        with suppress(OSError, av.error.FFmpegError):  # not there, or half a header
            played = play(path)
            if len(played.images) >= frames:
                return played
    raise AssertionError(f"no {frames} frames in {path}")


def test_a_server_gets_every_frame_of_a_clip_at_its_time(
    rtsp_server, image, play, closeness, sent, until
):
    started = time.monotonic()
    with closing(open_sink(rtsp_server.uri("in"), CLIP, SinkOptions())) as sink:
        for index in range(30):
            sink.write(frame(image(shift=index), index))
            until(lambda index=index: index in sent)  # or the next may take its place
        assert time.monotonic() - started >= 29 / FPS
    # The server keeps the last ones until it knows where they end.
    played = recorded(rtsp_server.recording, play, frames=28)
    assert played.video["codec"] == "h264"
    assert closeness(played.images[0], image()) <= 16


def test_no_server(image):
    sink = open_sink("rtsp://me:secret@127.0.0.1:1/in", LIVE, SinkOptions())
    with (
        closing(sink),
        pytest.raises(
            MediaError,
            match=r"^rtsp://127.0.0.1:1/in cannot be written: Connection refused",
        ),
    ):
        sink.write(frame(image(), 0))


def test_a_server_that_refuses(rtsp_server, image):
    with (
        closing(open_sink(rtsp_server.uri("nowhere"), LIVE, SinkOptions())) as sink,
        pytest.raises(MediaError, match=r"/nowhere cannot be written: "),
    ):
        sink.write(frame(image(), 0))


def write_until_it_fails(sink, image):
    def write_all():
        for index in range(100_000):
            sink.write(frame(image(shift=index), index))
            time.sleep(0.002)

    with pytest.raises(MediaError) as caught:
        write_all()
    return str(caught.value)


def test_a_server_that_dies(rtsp_server, image):
    with closing(open_sink(rtsp_server.uri("in"), LIVE, SinkOptions())) as sink:
        sink.write(frame(image(), 0))
        rtsp_server.kill()
        assert "/in cannot be written: " in write_until_it_fails(sink, image)


def test_a_server_that_freezes(rtsp_server, image, sent, until):
    sink = rtsp_publisher.RtspSink(rtsp_server.uri("in"), LIVE, SinkOptions(crf=0))
    with closing(sink):
        sink.write(frame(image(), 0))
        until(lambda: sent)
        sink._timeout_s = 0.5  # from here on: to connect may take longer
        rtsp_server.freeze()
        assert "takes nothing for 0.5 s" in write_until_it_fails(sink, noise)


def noise(shift):
    """Pictures that do not compress, so that the socket is full soon."""
    import numpy as np

    return np.random.default_rng(shift).integers(0, 256, (48, 64, 3), np.uint8)


def test_another_size(rtsp_server, image):
    from derain.core.sizes import Size

    with closing(open_sink(rtsp_server.uri("in"), LIVE, SinkOptions())) as sink:
        sink.write(frame(image(), 0))
        message = write_until_it_fails(sink, lambda shift: image(Size(32, 32)))
    assert "is 32x32, the stream is 64x48" in message
