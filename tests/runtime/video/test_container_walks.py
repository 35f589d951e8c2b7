"""Videos that are cut short, and videos with a hole in the middle."""

import struct
import subprocess
import sys

import pytest

pytest.importorskip("av")

from derain.core.errors import MediaError
from derain.runtime.video.sources import open_source
from derain.runtime.video.sources.container_walks import find_flaw, y4m_frame_bytes
from support.clips import BROADCAST, FORMS, FRAMES, cut, holed, make_clip

# A cut MP4 has lost its index, and a hole in it is what the decoder meets.
WALKED = sorted(FORMS.keys() - {".mp4"})


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    """Files by their suffix, made when first asked for."""
    folder = tmp_path_factory.mktemp("videos")

    def video(suffix):
        path = folder / f"in{suffix}"
        if not path.exists():
            make_clip(make_video, path)
        return path

    return video


def read(path):
    """How many frames come, and what is wrong in the end."""
    count = 0
    try:
        source = open_source(str(path))
        for _ in source:
            count += 1
        source.close()
    except MediaError as error:
        return count, str(error)
    return count, ""


@pytest.mark.parametrize("suffix", sorted(FORMS))
def test_a_whole_file_has_no_flaw(videos, suffix, said):
    assert find_flaw(videos(suffix)) is None
    assert read(videos(suffix)) == (FRAMES, "")
    assert said() == []


@pytest.mark.parametrize("suffix", sorted(FORMS))
@pytest.mark.parametrize("share", [0.3, 0.501, 0.77])
def test_a_file_that_is_cut_says_so(videos, tmp_path, suffix, share):
    content = videos(suffix).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(cut(content, share))
    count, error = read(path)
    assert "is damaged or cut short" in error or ", or is cut short: " in error
    assert count < FRAMES


@pytest.mark.parametrize("suffix", WALKED)
@pytest.mark.parametrize("kind", ["zeros", "noise", "gone"])
def test_a_hole_in_the_middle_is_told_of(videos, tmp_path, suffix, kind, said):
    path = tmp_path / f"hole{suffix}"
    path.write_bytes(holed(videos(suffix).read_bytes(), kind))
    count, error = read(path)
    assert count < FRAMES
    if error:
        assert "is damaged or cut short after frame" in error
    else:  # a broadcast may lose something on the way, and goes on
        assert suffix in BROADCAST
        assert [line for line in said() if "parts of it were lost" in line]


def test_a_hole_in_packets_of_equal_size_is_found_and_left(videos, tmp_path):
    content = videos(".ts").read_bytes()
    packets = len(content) // 188
    path = tmp_path / "hole.ts"
    path.write_bytes(
        content[: packets // 2 * 188 + 50] + content[packets // 2 * 188 + 90 :]
    )
    flaw = find_flaw(path)
    assert not flaw.is_cut
    path.write_bytes(path.read_bytes()[:-100])
    assert find_flaw(path).is_cut


@pytest.mark.parametrize(
    ("header", "count"),
    [
        (b"YUV4MPEG2 W64 H48 F25:1", 64 * 48 * 3 // 2),
        (b"YUV4MPEG2 W65 H49 C420jpeg", 65 * 49 + 2 * 33 * 25),
        (b"YUV4MPEG2 W64 H48 C422p10", 64 * 48 * 4),
        (b"YUV4MPEG2 W64 H48 C444", 64 * 48 * 3),
        (b"YUV4MPEG2 W64 H48 Cmono", 64 * 48),
        (b"YUV4MPEG2 W64 H48 C444alpha", 0),
        (b"YUV4MPEG2 W64", 0),
        (b"YUV4MPEG2 W\xff H48", 0),
    ],
)
def test_frames_of_y4m(header, count):
    assert y4m_frame_bytes(header) == count


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"FLV", b"OggS", b"\x47" * 3])
def test_headers_without_a_file(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    find_flaw(tmp_path / "file")


FORM = "-?size=64x48&format=nv12"


@pytest.mark.parametrize("missing", [0, 1, 3000, 64 * 48 * 3 // 2 + 6])
@pytest.mark.parametrize("uri", ["-", FORM])
def test_standard_input_that_ends_within_a_frame(
    videos, bundles, missing, uri, tmp_path, play
):
    content = videos(".y4m").read_bytes()
    frame = 64 * 48 * 3 // 2
    if uri == FORM:
        content, missing = bytes(4 * frame), min(missing, frame)
    out = tmp_path / "out.mp4"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "derain.runtime.cli", bundles("darken"), "-q"),
            *("--source", uri, "--sink", out),
        ],
        input=content[: len(content) - missing],
        capture_output=True,
        timeout=180,
        check=False,
    )
    whole = missing % (frame + (6 if uri == "-" else 0)) == 0
    frames = len(content) // frame - (missing > 0)
    assert done.returncode == (0 if whole else 1), done.stderr
    if not whole:
        assert b"its last frame is cut short, by " in done.stderr
        assert b"out.partial.mp4" in done.stderr
        out = tmp_path / "out.partial.mp4"
    assert len(play(out).times) == frames


def test_frames_that_claim_too_many_pixels_are_not_decoded(videos, tmp_path):
    content = videos(".gif").read_bytes()
    path = tmp_path / "in.gif"
    # FFmpeg itself ends at 268 megapixels.
    path.write_bytes(content[:6] + struct.pack("<HH", 20_000, 10_000) + content[10:])
    with pytest.raises(MediaError, match=r"in\.gif claims frames of 20000x10000 p"):
        open_source(str(path))
