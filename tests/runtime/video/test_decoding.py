"""Video files as a source, sound ones and broken ones."""

from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")

from derain.core.errors import MediaError  # noqa: E402
from derain.core.metrics import psnr_db  # noqa: E402
from derain.core.sizes import Size  # noqa: E402
from derain.runtime.video.sources import open_source  # noqa: E402

SUFFIXES = [".mp4", ".mkv", ".ts"]


def read(path):
    """All frames of a file, and the error that ended them."""
    frames = []
    try:
        with closing(open_source(str(path))) as source:
            frames.extend(source)
    except MediaError as error:
        return frames, str(error)
    return frames, None


def test_info_says_what_the_file_is(tmp_path, make_video):
    path = make_video(tmp_path / "in.mp4", frames=30, audio="aac")
    with closing(open_source(str(path))) as source:
        info = source.info
        assert info.size == Size(64, 48)
        assert info.frames == 30
        assert info.fps == 25
        assert info.audio == path
        assert info.files == (path,)
        assert info.description == f"{path}, 64x48, 25 frames/s"


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".avi", ".mov", ".webm"])
def test_frames_are_the_pictures_that_were_encoded(tmp_path, make_video, image, suffix):
    codec = {".webm": "libvpx", ".avi": "mpeg4"}.get(suffix, "libx264")
    path = make_video(
        tmp_path / f"in{suffix}",
        frames=12,
        codec=codec,
        tags=(6, 6, 6) if suffix in (".avi", ".webm") else (1, 1, 1),
        # AVI has a fixed rate, and mpeg4 takes no finer clock than 1/65535.
        time_base=Fraction(1, 25) if suffix == ".avi" else Fraction(1, 12800),
        pts=list(range(12)) if suffix == ".avi" else None,
        encoder={} if codec == "libx264" else {"b": "4000000"},
    )
    frames, error = read(path)
    assert error is None
    assert [frame.index for frame in frames] == list(range(12))
    start = frames[0].time
    assert all(
        # Matroska counts milliseconds.
        abs(frame.time - start - Fraction(frame.index, 25)) <= Fraction(1, 1000)
        for frame in frames
    )
    for frame in frames:
        assert frame.image.flags["C_CONTIGUOUS"]
        # One lossy encoding: measured 33 dB for mpeg4, 40 dB and more for the others.
        assert psnr_db(frame.image, image(shift=frame.index)) > 30


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_phone_video_is_turned_upright(tmp_path, make_video, turn):
    size = Size(64, 48)

    def marked(size, index):
        picture = np.zeros((size.height, size.width, 3), np.uint8)
        picture[:16, :16] = 255  # top left
        return picture

    path = make_video(tmp_path / "in.mp4", picture=marked, aspect=Fraction(4, 3))
    turn_display_matrix(path, turn)
    with closing(open_source(str(path))) as source:
        frame = next(iter(source))
        info = source.info
    corners = {
        90: (slice(0, 16), slice(-16, None)),  # clockwise: top right
        180: (slice(-16, None), slice(-16, None)),
        270: (slice(-16, None), slice(0, 16)),
    }
    assert frame.size == info.size == (size if turn == 180 else Size(48, 64))
    assert frame.image[corners[turn]].mean() > 200
    assert frame.image.mean() < 40
    assert info.pixel_aspect == (Fraction(4, 3) if turn == 180 else Fraction(3, 4))


def turn_display_matrix(path, degrees):
    """Make players turn the picture clockwise, as phones do (ISO 14496-12, tkhd)."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    values = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    matrix = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    content = path.read_bytes()
    start = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes
    path.write_bytes(content[:start] + matrix + content[start + 36 :])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_cut_short_gives_its_frames_and_an_error(
    tmp_path, make_video, suffix, part
):
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = make_video(
        tmp_path / f"in{suffix}", frames=100, options=options, encoder={"crf": "4"}
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    frames, error = read(path)
    assert 100 * part - 30 < len(frames) < 100
    assert error.startswith(
        f"{path} is damaged or cut short after frame {len(frames) - 1}: "
    )


def test_every_length_of_a_cut_mp4_is_an_error(tmp_path, make_video):
    path = make_video(tmp_path / "in.mp4", frames=12, options={"movflags": "faststart"})
    content = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    start = content.index(b"mdat") + 4
    for length in range(start, len(content), 97):
        cut.write_bytes(content[:length])
        assert read(cut)[1] is not None, length
    with av.open(str(path)) as file:
        ends = [packet.pos + packet.size for packet in file.demux() if packet.size]
    for length in ends[:-1]:  # between two packets
        cut.write_bytes(content[:length])
        assert read(cut)[1] is not None, length


def test_a_missing_index_is_an_error(tmp_path, make_video):
    path = make_video(tmp_path / "in.mp4", frames=50)
    path.write_bytes(path.read_bytes()[:-500])
    frames, error = read(path)
    assert frames == []
    assert error.startswith(
        f"{path} is not a video that can be decoded, or is cut short: "
    )


def test_a_broken_packet_ends_the_frames_with_an_error(tmp_path, make_video):
    path = make_video(tmp_path / "in.mp4", frames=100, encoder={"crf": "4"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    frames, error = read(path)
    assert 20 < len(frames) < 80
    assert f"{path} is damaged or cut short after frame {len(frames) - 1}: " in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"only text\n" * 50, "is not a video that can be decoded, or is cut short"),
        (b"", "is not a video that can be decoded, or is cut short"),
        (None, "cannot be read: No such file or directory"),
    ],
    ids=["text", "empty", "missing"],
)
def test_what_is_not_a_video(tmp_path, content, message):
    path = tmp_path / "in.mp4"
    if content is not None:
        path.write_bytes(content)
    frames, error = read(path)
    assert frames == []
    assert error.startswith(f"{path} {message}")
    assert "\n" not in error


def test_sound_without_pictures_is_an_error(tmp_path):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=48000)
        samples = np.zeros((1, 4096), np.float32)
        block = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        block.rate = 48000
        stream.layout = "mono"
        file.mux([*stream.encode(block), *stream.encode(None)])
    assert read(path) == ([], f"{path} has no video in it")


def test_a_video_without_frames_is_an_error(tmp_path):
    path = tmp_path / "in.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n")
    frames, error = read(path)
    assert frames == []
    assert error == f"{path} has no frames"


def test_a_rate_for_a_video_is_refused(tmp_path, make_video):
    path = make_video(tmp_path / "in.mp4")
    with pytest.raises(
        MediaError, match="has its own frame rate; --fps is for pictures"
    ):
        open_source(str(path), Fraction(30))


def test_close_twice_is_harmless(tmp_path, make_video):
    source = open_source(str(make_video(tmp_path / "in.mp4")))
    source.close()
    source.close()
