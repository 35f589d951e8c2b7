"""A file is whole or is not there, and what was there stays until then."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from derain.core.atomic_files import (
    remove_abandoned,
    remove_leftovers,
    replacing,
    write_bytes,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_are_written_whole(tmp_path):
    write_text(tmp_path / "a.txt", "Zoë\n")
    write_bytes(tmp_path / "b", b"\0\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "Zoë\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\0\r\n"
    assert names(tmp_path) == ["a.txt", "b"]


def test_a_file_has_the_usual_permissions(tmp_path):
    write_text(tmp_path / "a", "")
    (tmp_path / "usual").write_text("")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")

    def fail():
        with replacing(path) as file:
            file.write(b"half of the new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_the_old_file_is_there_while_the_new_one_is_written(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_new_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        os, "replace", lambda a, b: (done.append("replace"), replace(a, b))
    )
    write_text(tmp_path / "a", "new")
    assert done == ["fsync", "replace"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "link", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (tmp_path / "link").read_text() == "ours"
    assert not (tmp_path / "link").is_symlink()


def test_files_of_the_users_that_look_like_ours_stay(tmp_path):
    (tmp_path / "a.part").write_text("mine")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a.part").read_text() == "mine"


def test_the_new_file_has_the_mode_of_the_old_one(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o640)
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_killed_programs_left_can_be_removed(tmp_path, monkeypatch):
    def killed(descriptor):
        raise SystemExit

    monkeypatch.setattr(os, "fsync", killed)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(SystemExit):
        write_text(tmp_path / "a[1]", "new")
    monkeypatch.undo()
    assert len(names(tmp_path)) == 1
    for name in ("a.part", ".a[1]-mine.part", ".a1-0a1b2c3d.part"):
        (tmp_path / name).write_text("mine")
    remove_leftovers(tmp_path / "a[1]")
    assert names(tmp_path) == [".a1-0a1b2c3d.part", ".a[1]-mine.part", "a.part"]


def test_names_as_long_as_they_may_be(tmp_path):
    write_text(tmp_path / ("é" * 127), "new")
    assert names(tmp_path) == ["é" * 127]


def test_a_pipe_and_a_folder_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(FileExistsError, match="no file is there"):
            write_text(tmp_path / name, "new")
    assert names(tmp_path) == ["folder", "pipe"]


WRITE = """
import sys, time
from pathlib import Path
from derain.core.atomic_files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    print(flush=True)
    time.sleep(600)
"""


def test_what_killed_programs_left_in_a_folder_goes_and_what_they_write_stays(
    tmp_path,
):
    """One that is killed, one that still writes, and files that only look so."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, tmp_path / name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for name in ("a.png", f"{'b' * 50}.png", "held.png")
    ]
    for writer in writers:
        writer.stdout.readline()
        writer.stdout.close()
    kept = {".a.txt-0a1b2c3d.part", ".a.png-mine.part", "a.png-0a1b2c3d.part"}
    for name in kept:
        (tmp_path / name).write_text("mine")
    kept |= {name for name in names(tmp_path) if name.startswith(".held")}
    for writer in writers[:2]:
        writer.kill()
        writer.wait(120)
    remove_abandoned(tmp_path, {".png"})
    assert len(names(tmp_path)) == 6  # what is new is nobody's to judge
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    remove_abandoned(tmp_path, {".png"})
    assert set(names(tmp_path)) == kept
    writers[2].kill()
    writers[2].wait(120)
