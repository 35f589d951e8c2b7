"""Files are whole or not there, and other people's stay."""

import errno
import os
from pathlib import Path

import pytest

from derain.calibration.files import check_free, write_file
from derain.core.errors import CalibrationError


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CalibrationError, match=r"c\.json cannot be written: No space"):
        write_file(tmp_path / "c.json", b"content")
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_free(tmp_path):
    check_free(tmp_path / "c.json", [tmp_path], force=False)


def test_an_existing_file_needs_force(tmp_path):
    (tmp_path / "c.json").touch()
    with pytest.raises(CalibrationError, match="exists; replace it with --force"):
        check_free(tmp_path / "c.json", [], force=False)
    check_free(tmp_path / "c.json", [], force=True)


def test_a_link_to_nothing_needs_force(tmp_path):
    (tmp_path / "c.json").symlink_to(tmp_path / "none")
    with pytest.raises(CalibrationError, match="exists; replace it with --force"):
        check_free(tmp_path / "c.json", [], force=False)


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "link to a device"])
def test_what_is_no_file_is_never_replaced(tmp_path, kind):
    path = tmp_path / "c.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to(os.devnull)
    else:
        path = Path(os.devnull)
    with pytest.raises(CalibrationError, match="is no file, and is not replaced"):
        check_free(path, [], force=True)


@pytest.mark.parametrize("place", ["itself", "through a link", "inside"])
def test_what_is_read_is_never_replaced(tmp_path, place):
    footage = tmp_path / "rainy.mp4"
    footage.touch()
    path, read = footage, footage
    if place == "through a link":
        path = tmp_path / "c.json"
        path.symlink_to(footage)
    elif place == "inside":
        read = tmp_path
    with pytest.raises(CalibrationError, match="is what is read"):
        check_free(path, [read], force=True)
