from fractions import Fraction

import pytest

from derain.runtime.video.sinks.safe_file import cut_to_whole_fragments
from derain.runtime.video.sources.integrity import missing_bytes


def box(kind, content=b"", wide=False):
    size = len(content) + (16 if wide else 8)
    if wide:
        return b"\0\0\0\1" + kind + size.to_bytes(8, "big") + content
    return size.to_bytes(4, "big") + kind + content


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_missing_bytes_are_counted(tmp_path, make_video, suffix):
    path = tmp_path / f"in{suffix}"
    if suffix == ".avi":  # whose rate is fixed
        clock = {"time_base": Fraction(1, 25), "pts": list(range(12))}
        make_video(path, codec="mpeg4", **clock)
    else:
        make_video(path, 12, codec="libvpx" if suffix == ".webm" else "libx264")
    assert missing_bytes(path) == 0
    content = path.read_bytes()
    for count in (1, 7, 100):
        path.write_bytes(content[:-count])
        assert missing_bytes(path) == count


@pytest.mark.parametrize("content", [b"", b"x", b"text" * 100, b"\x1a\x45\xdf\xa3"])
def test_other_files_lack_nothing(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert missing_bytes(tmp_path / "file") == 0


def test_large_boxes_and_boxes_to_the_end(tmp_path):
    path = tmp_path / "in.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"mdat", b"x" * 50, wide=True)[:-9])
    assert missing_bytes(path) == 9
    path.write_bytes(box(b"ftyp", b"isom") + b"\0\0\0\0mdat" + b"x" * 50)
    assert missing_bytes(path) == 0


@pytest.mark.parametrize("missing", [1, 30, 60])
def test_unfinished_fragments_are_cut_off(tmp_path, missing):
    path = tmp_path / "out.mp4"
    whole = box(b"ftyp") + box(b"moov") + box(b"moof", b"1") + box(b"mdat", b"2")
    rest = box(b"moof", b"3" * 20) + box(b"mdat", b"4" * 40)
    path.write_bytes(whole + rest[:-missing])
    cut_to_whole_fragments(path)
    assert path.read_bytes() == whole


def test_a_file_without_a_fragment_is_removed(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(box(b"ftyp") + box(b"moof") + box(b"mdat", b"x" * 50)[:-1])
    cut_to_whole_fragments(path)
    assert not path.exists()
