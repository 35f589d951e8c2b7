"""Temporary folders go when their program ends; after a kill, at the next start."""

import os
import signal
import subprocess
import sys
import time

import pytest

from derain.core import scratch
from derain.core.interrupts import signals_unwind
from derain.core.scratch import ScratchFolder

HOLD = """
import sys, time
from pathlib import Path
from derain.core.interrupts import signals_unwind
from derain.core.scratch import ScratchFolder
with signals_unwind(), ScratchFolder("x-", Path(sys.argv[1])) as folder:
    (Path(folder) / "file").write_text("half")
    print(flush=True)
    time.sleep(600)
"""


def holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    process.stdout.close()
    return process


def aged(folder):
    """As if all in `folder` had been there for an hour."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name
)
def test_a_signal_takes_it_along(tmp_path, number):
    process = holder(tmp_path)
    process.send_signal(number)
    assert process.wait(120) != 0
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_the_next_one_removes_it(tmp_path):
    process = holder(tmp_path)
    aged(tmp_path)
    with ScratchFolder("x-", tmp_path):
        assert len(list(tmp_path.iterdir())) == 2  # it is held
    process.kill()
    process.wait(120)
    aged(tmp_path)
    with ScratchFolder("x-", tmp_path) as folder:
        assert [str(path) for path in tmp_path.iterdir()] == [folder]
    assert list(tmp_path.iterdir()) == []


def test_what_is_new_or_has_another_name_stays(tmp_path):
    names = ("x-notes", "x-notes.scratch", "x-0a1b2c3d", "y-0a1b2c3d.scratch")
    for name in (*names, "x-0a1b2c3d.scratch"):
        (tmp_path / name).mkdir()
    with ScratchFolder("x-", tmp_path):  # the last is new
        assert len(list(tmp_path.iterdir())) == 6
    aged(tmp_path)
    scratch.remove_abandoned(tmp_path, "x-")
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_link_of_such_a_name_is_not_followed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("precious")
    (tmp_path / "x-0a1b2c3d.scratch").symlink_to("theirs")
    os.utime(tmp_path / "x-0a1b2c3d.scratch", (0, 0), follow_symlinks=False)
    scratch.remove_abandoned(tmp_path, "x-")
    assert (tmp_path / "theirs" / "file").read_text() == "precious"


def test_an_error_takes_it_along(tmp_path):
    with pytest.raises(SystemExit), signals_unwind(), ScratchFolder("x-", tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
