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
        assert out.exists() == ("kept in" in result.stderr)
        counts.append(len(play(out).times) if out.exists() else 0)
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
    assert not out.exists()


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
    assert result.returncode == 3
    assert one_line(result.stderr), result.stderr
    assert "out.mp4 cannot be written: File too large; what was" in result.stderr
    assert len(play(out).times) >= 25


def test_a_full_device(derain_run, bundles, tmp_path, picture_folder, one_line):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    result = derain_run(
        *(bundles("darken"), "--source", picture_folder(), "--force"),
        *("--sink", tmp_path / "out.mp4"),
    )
    assert result.returncode == 1
    assert one_line(result.stderr), result.stderr
    assert "No space left on device" in result.stderr
