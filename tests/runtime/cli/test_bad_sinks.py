"""Sinks that cannot be opened, and disks that get full."""

import errno
import os

import pytest

from derain.runtime.video.sinks import safe_file


class FullDisk(safe_file.SafeFile):
    """A disk on which `room` bytes are left."""

    room = 0

    def write(self, data):
        if self.tell() + len(data) <= self.room:
            return super().write(data)
        super().write(data[: max(0, self.room - self.tell())])
        self.error = OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ("no/such/out.mp4", "out.mp4 cannot be written: no folder .*no/such"),
        ("no/such/out.png", "out.png cannot be written: no folder .*no/such"),
        ("no/such/out", "out cannot be written: no folder .*no/such"),
        ("file/out.mp4", "out.mp4 cannot be written: no folder .*file"),
        (
            "out.doc",
            r"unknown sink '.*out.doc'; choose from .*a folder, a new folder, a ",
        ),
        ("out.jpg", r"out.jpg holds one picture, .* has 3 frames; name a folder or a"),
        ("ftp://host/x", "unknown sink 'ftp://host/x'"),
        ("file", "file is a file; wanted a folder for the pictures"),
    ],
)
def test_sinks_that_cannot_be_opened(
    invoke, bundles, tmp_path, picture_folder, monkeypatch, sink, message, failed
):
    folder = picture_folder(count=1 if sink.endswith(".png") else 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    result = invoke(bundles("darken"), "--source", folder, "--sink", sink)
    assert failed(result, message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(invoke, bundles, tmp_path, picture_folder, failed):
    folder = picture_folder()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for sink in ("out.mp4", "out.png", "out"):
        result = invoke(
            *(bundles("darken"), "--source", folder, "--limit", "1"),
            *("--sink", locked / sink),
        )
        assert failed(result, "cannot be written: folder .*locked is read-only")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_full_disk_keeps_what_was_finished(
    invoke, bundles, tmp_path, make_video, play, monkeypatch, suffix, failed
):
    monkeypatch.setattr("derain.runtime.video.sinks.muxing.SafeFile", FullDisk)
    source = make_video(tmp_path / "in.mp4", 150, audio="aac", encoder={"crf": "4"})
    arguments = (bundles("identity"), "--source", source, "--crf", "1", "--sink")
    monkeypatch.setattr(FullDisk, "room", 1 << 40)
    assert invoke(*arguments, tmp_path / f"all{suffix}").exit_code == 0
    size = (tmp_path / f"all{suffix}").stat().st_size
    counts = []
    for eighths in range(1, 8):
        monkeypatch.setattr(FullDisk, "room", size * eighths // 8)
        out = tmp_path / f"out{eighths}{suffix}"
        result = invoke(*arguments, out)
        assert failed(result, f"{out} cannot be written: No space left on device")
        assert not out.exists()
        kept = tmp_path / f"out{eighths}.partial{suffix}"
        assert kept.exists() == (f"kept in {kept}" in result.stderr)
        counts.append(len(play(kept).times) if kept.exists() else 0)
    assert counts == sorted(counts)
    assert counts[0] < 25
    assert counts[-1] >= 100


def test_a_disk_full_from_the_start_leaves_nothing(
    invoke, bundles, tmp_path, make_video, monkeypatch, failed
):
    monkeypatch.setattr("derain.runtime.video.sinks.muxing.SafeFile", FullDisk)
    source = make_video(tmp_path / "in.mp4", 50)
    out = tmp_path / "out.mp4"
    result = invoke(bundles("identity"), "--source", source, "--sink", out)
    assert failed(result, "out.mp4 cannot be written: No space left on device")
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_size_limit_keeps_what_was_finished(
    bundles, tmp_path, make_video, play, python, one_line
):
    resource = pytest.importorskip("resource", reason="limits need a Unix system")
    source = make_video(tmp_path / "in.mp4", 150, encoder={"crf": "1"})
    out = tmp_path / "out.mp4"
    limit = source.stat().st_size // 2
    command = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2);"
        "from derain.runtime.cli import main; main()"
    )
    assert resource
    result = python(
        command, bundles("identity"), "--crf", "1", "--source", source, "--sink", out
    )
    assert result.returncode == 1
    assert one_line(result.stderr), result.stderr
    assert "out.mp4 cannot be written: File too large; what was" in result.stderr
    assert len(play(tmp_path / "out.partial.mp4").times) >= 25


@pytest.mark.parametrize("name", ["out.mp4", "out.png"])
@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_file_is_never_replaced(
    invoke, bundles, tmp_path, picture_folder, failed, name, kind
):
    if kind == "device":
        (tmp_path / name).symlink_to(os.devnull)
    else:
        os.mkfifo(tmp_path / name)
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(count=1), "--force"),
        *("--sink", tmp_path / name),
    )
    assert failed(result, f"{name} is a device or a pipe; wanted a file name")
    assert (tmp_path / name).exists()
    assert not (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["out.mp4", "out.png"])
@pytest.mark.parametrize("leads_to", ["theirs", "nowhere"])
def test_a_link_is_replaced_and_not_written_through(
    invoke, bundles, tmp_path, picture_folder, failed, name, leads_to
):
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / name).symlink_to(tmp_path / leads_to)
    arguments = (bundles("darken"), "--source", picture_folder(count=1))
    result = invoke(*arguments, "--sink", tmp_path / name)
    assert failed(result, f"{name} exists; use --force to replace it")
    assert invoke(*arguments, "--sink", tmp_path / name, "--force").exit_code == 0
    assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "theirs").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
@pytest.mark.parametrize("name", ["o.mp4", "o.png"])
@pytest.mark.parametrize("suffix", [".part", ".partial"])
def test_names_beside_the_result_are_the_user_s(
    invoke, bundles, tmp_path, picture_folder, name, suffix, kind
):
    (tmp_path / "theirs").write_text("precious")
    stem, _, last = name.partition(".")
    mine = tmp_path / (name + suffix if suffix == ".part" else f"{stem}.partial.{last}")
    if kind == "file":
        mine.write_text("precious")
    elif kind == "folder":
        mine.mkdir()
    else:
        mine.symlink_to(tmp_path / "theirs")
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(count=1)),
        *("--sink", tmp_path / name),
    )
    assert result.exit_code == 0, result.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"in", "theirs", name, mine.name}
    assert mine.is_dir() if kind == "folder" else mine.read_text() == "precious"
    assert mine.is_symlink() == (kind == "link")
    assert (tmp_path / "theirs").read_text() == "precious"


def test_a_file_that_comes_meanwhile_is_not_replaced(
    invoke, bundles, tmp_path, picture_folder, failed, monkeypatch
):
    out = tmp_path / "out.mp4"
    complete = safe_file.SafeFile.complete

    def late(self, **options):
        out.write_text("precious")
        complete(self, **options)

    monkeypatch.setattr(safe_file.SafeFile, "complete", late)
    result = invoke(bundles("darken"), "--source", picture_folder(), "--sink", out)
    assert failed(result, r"out\.mp4 cannot be written: File exists; .*out\.partial\.")
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("out.mp4", "./out.mp4"),
        ("out.mp4", "out.mp4?codec=hevc"),
        ("out.png", "link/out.png"),
        ("old.png", "hard.png"),
        ("frames", "frames/"),
        ("-", "-"),
        ("rtsp://host/a", "rtsp://host/a"),
    ],
)
def test_two_sinks_of_one_place_are_refused(
    invoke, bundles, tmp_path, monkeypatch, picture_folder, failed, first, second
):
    folder = picture_folder(count=1)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "old.png").write_text("precious")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "old.png")
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    result = invoke(
        *(bundles("darken"), "--source", folder, "--force"),
        *("--sink", first, "--sink", second),
    )
    assert failed(result, "is the same place as .*; name another")
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "old.png").read_text() == "precious"
