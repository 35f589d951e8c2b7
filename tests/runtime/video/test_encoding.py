"""Frames into video files, and back out with a player's eyes."""

from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")

from derain.core.errors import MediaError  # noqa: E402
from derain.core.metrics import psnr_db  # noqa: E402
from derain.core.pictures import write_picture  # noqa: E402
from derain.core.sizes import Size  # noqa: E402
from derain.runtime.video.frames import Frame, SourceInfo  # noqa: E402
from derain.runtime.video.sink_options import SinkOptions  # noqa: E402
from derain.runtime.video.sinks import muxing, open_sink  # noqa: E402
from derain.runtime.video.sources import open_source  # noqa: E402

# Two trips through 4:2:0, the second at crf 17: measured 42 dB on these pictures.
CODEC_PSNR_DB = 38


def copy(source_path, sink_path, *, fps=None, **options):
    """What a run without a network does; returns the sink."""
    with closing(open_source(str(source_path), fps)) as source:
        sink = open_sink(str(sink_path), source.info, SinkOptions(**options))
        with closing(sink):
            for frame in source:
                sink.write(frame)
            sink.finish()
    return sink


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".m4v"])
def test_video_is_h264_that_browsers_play(tmp_path, make_video, play, suffix):
    source = make_video(tmp_path / "in.mp4")
    copy(source, tmp_path / f"out{suffix}")
    before, after = play(source), play(tmp_path / f"out{suffix}")
    assert after.video["codec"] == "h264"
    assert after.video["format"] == "yuv420p"
    assert len(after.images) == len(before.images)
    for a, b in zip(after.images, before.images, strict=True):
        assert psnr_db(a, b) > CODEC_PSNR_DB


CLOCKS = {
    "steady": [512 * i for i in range(40)],
    "variable": [512 * i + 37 * (i % 5) for i in range(40)],
    "pause": [512 * i + (64_000 if i > 20 else 0) for i in range(40)],
    "late start": [2673 + 512 * i for i in range(40)],
}


@pytest.mark.parametrize("pts", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("audio", [None, "aac"], ids=["silent", "audio"])
def test_times_are_those_of_the_source(tmp_path, make_video, play, pts, audio):
    source = make_video(tmp_path / "in.mp4", pts=pts, audio=audio)
    copy(source, tmp_path / "out.mp4")
    before, after = play(source), play(tmp_path / "out.mp4")
    assert after.times == before.times
    assert before.times[1] - before.times[0] == Fraction(pts[1] - pts[0], 12800)


def test_ntsc_rate_is_exact(tmp_path, make_video, play):
    source = make_video(
        tmp_path / "in.mp4",
        pts=[1001 * i for i in range(30)],
        time_base=Fraction(1, 30000),
        rate=Fraction(30000, 1001),
    )
    copy(source, tmp_path / "out.mp4")
    played = play(tmp_path / "out.mp4")
    assert played.times == [Fraction(1001 * i, 30000) for i in range(30)]
    assert played.video["rate"] == Fraction(30000, 1001)
    assert played.video["duration"] == Fraction(1001 * 30, 30000)


def test_matroska_keeps_times_to_the_millisecond(tmp_path, make_video, play):
    source = make_video(tmp_path / "in.mp4", pts=CLOCKS["variable"])
    copy(source, tmp_path / "out.mkv")
    pairs = zip(play(source).times, play(tmp_path / "out.mkv").times, strict=True)
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in pairs)


def test_a_broadcast_starts_at_zero(tmp_path, make_video, play):
    source = make_video(
        tmp_path / "in.ts",
        pts=[90_000 * 3600 + 3600 * i for i in range(20)],
        time_base=Fraction(1, 90_000),
    )
    copy(source, tmp_path / "out.mp4")
    assert play(tmp_path / "out.mp4").times == [Fraction(i, 25) for i in range(20)]


def test_odd_sizes_repeat_the_last_column_and_row(tmp_path, image, play):
    size = Size(33, 25)
    for index in range(3):
        write_picture(tmp_path / f"{index}.png", image(size, index))
    sink = copy(tmp_path / "*.png", tmp_path / "out.mp4")
    (played, *_) = play(tmp_path / "out.mp4").images
    assert played.shape == (26, 34, 3)
    assert psnr_db(played[:25, :33], image(size)) > CODEC_PSNR_DB
    assert psnr_db(played[:25, 33:], image(size)[:, 32:]) > CODEC_PSNR_DB
    assert sink.notes == (
        "H.264 needs even sizes: the video is 34x26, with the last column or row of "
        "the 33x25 frames repeated",
    )


def test_pixel_aspect_is_kept(tmp_path, make_video, play):
    source = make_video(tmp_path / "in.mp4", aspect=Fraction(16, 11))
    copy(source, tmp_path / "out.mp4")
    assert play(tmp_path / "out.mp4").video["aspect"] == Fraction(16, 11)


BARS = [(235, 235, 235), (16, 200, 200), (200, 200, 16), (30, 180, 30)]
BARS += [(180, 30, 180), (30, 30, 200), (200, 30, 30), (20, 20, 20)]


def bars(size, index):
    """Colour bars, 32 pixels each."""
    return np.repeat(np.uint8(BARS), 32, axis=0)[None].repeat(size.height, axis=0)


def yuv(bgr, matrix):
    """The limited-range code values of a colour, from the standard's formula."""
    b, g, r = (channel / 255 for channel in bgr)
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}[matrix]
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (1 - kb) / 2, (r - y) / (1 - kr) / 2
    return 16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6], ids=["bt709", "bt601"])
def test_colours_survive_with_their_tags(
    tmp_path, make_video, play, matrix, full_range
):
    source = make_video(
        tmp_path / "in.mp4",
        frames=2,
        size=Size(256, 32),
        picture=bars,
        tags=(matrix,) * 3,
        full_range=full_range,
        encoder={"crf": "4"},
    )
    copy(source, tmp_path / "out.mp4", crf=4)
    played = play(tmp_path / "out.mp4")
    assert {played.video[tag] for tag in ("matrix", "primaries", "transfer")} == {
        matrix
    }
    assert played.video["range"] == 1
    for index, colour in enumerate(BARS):
        for plane, wanted in zip(played.planes, yuv(colour, matrix), strict=True):
            middle = (index * 32 + 16) * plane.shape[1] // 256
            got = int(plane[plane.shape[0] // 2, middle])
            # Two roundings to 8 bits and two encodings at crf 4.
            assert abs(got - wanted) <= 3, (colour, got, wanted)


@pytest.mark.parametrize(
    ("size", "matrix"), [(Size(1280, 720), 1), (Size(640, 480), 6)], ids=str
)
def test_untagged_colours_are_read_as_players_read_them(
    tmp_path, make_video, play, size, matrix
):
    source = make_video(tmp_path / "in.mp4", frames=2, size=size, tags=(2, 2, 2))
    copy(source, tmp_path / "out.mp4")
    assert play(tmp_path / "out.mp4").video["matrix"] == matrix


def test_pictures_become_bt709_at_the_rate_asked_for(tmp_path, picture_folder, play):
    copy(picture_folder(), tmp_path / "out.mp4", fps=Fraction(30000, 1001))
    played = play(tmp_path / "out.mp4")
    assert played.times == [Fraction(1001 * i, 30000) for i in range(3)]
    assert played.video["matrix"] == played.video["primaries"] == 1
    assert played.video["duration"] == Fraction(1001 * 3, 30000)


def test_another_size_in_the_middle_is_refused(tmp_path, picture_folder, play, image):
    folder = picture_folder(count=3)
    write_picture(folder / "frame2.png", image(Size(80, 60)))
    with pytest.raises(MediaError, match=r"frame2\.png is 80x60, the video is 64x48"):
        copy(folder, tmp_path / "out.mp4")


def test_of_a_camera_that_changes_its_size_it_is_said_what_helps(tmp_path, image):
    """Nobody who has a camera has a use for a folder of pictures."""
    info = SourceInfo(
        description="camera", time_base=Fraction(1, 1000), fps=Fraction(25), live=True
    )
    sizes = (Size(64, 48), Size(80, 60))
    first, second = (
        Frame(image(size), k, Fraction(k, 25), captured=0.0)
        for k, size in enumerate(sizes)
    )
    with closing(open_sink(str(tmp_path / "out.mp4"), info, SinkOptions())) as sink:
        sink.write(first)
        with pytest.raises(MediaError, match="a video has one size: use --resize"):
            sink.write(second)


def test_an_old_ffmpeg_leaves_fragments(tmp_path, make_video, play, monkeypatch):
    monkeypatch.setattr(muxing, "MOVFLAGS", muxing.FRAGMENTED)
    source = make_video(tmp_path / "in.mp4", audio="aac")
    copy(source, tmp_path / "out.mp4")
    before, after = play(source), play(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.audio_bytes == before.audio_bytes
    assert b"moof" in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.skipif(
    muxing.MOVFLAGS == muxing.FRAGMENTED, reason="FFmpeg before 8.1 leaves fragments"
)
def test_a_finished_file_is_not_fragmented(tmp_path, make_video):
    copy(make_video(tmp_path / "in.mp4", frames=100), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].frames == 100  # from the index of an ordinary MP4


def test_close_twice_and_without_a_frame_leaves_nothing(tmp_path, make_video):
    with closing(open_source(str(make_video(tmp_path / "in.mp4")))) as source:
        sink = open_sink(str(tmp_path / "out.mp4"), source.info, SinkOptions())
        sink.close()
        sink.close()
    assert not (tmp_path / "out.mp4").exists()
