"""A bundle is replaced by a whole one, and nothing else is ever replaced."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from derain.core.bundle import Bundle
from derain.core.errors import BundleError
from derain.export import bundle_writer
from derain.export.bundle_writer import check_target, new_bundle
from support.commands import content

WRITE = """
import shutil, sys, time
from pathlib import Path
from derain.core.interrupts import signals_unwind
from derain.export import bundle_writer
source, target, where = sys.argv[1:]
exchange = bundle_writer._exchange

def stop():
    print(flush=True)
    time.sleep(600)

def exchanged(new, folder):
    done = exchange(new, folder)
    stop()
    return done

if where == "after":
    bundle_writer._exchange = exchanged
with signals_unwind(), bundle_writer.new_bundle(Path(target), force=True) as aside:
    for path in Path(source).iterdir():
        shutil.copy(path, aside)
        if where == "within":
            stop()
"""


def writer(source, target, where):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, source, target, where],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    process.stdout.close()
    return process


@pytest.fixture
def old(bundles, tmp_path):
    """A bundle in a folder of its own."""
    return shutil.copytree(bundles("darken"), tmp_path / "place" / "b")


@pytest.mark.parametrize("where", ["within", "after"])
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL],
    ids=lambda n: n.name,
)
def test_whatever_ends_it_there_is_a_whole_bundle(bundles, old, number, where):
    new = bundles("identity")
    before, wanted = content(old), content(new)
    process = writer(new, old, where)
    process.send_signal(number)
    assert process.wait(120) != 0
    assert content(old) == (before if where == "within" else wanted)
    left = set(old.parent.iterdir()) - {old}
    assert len(left) == (number == signal.SIGKILL)
    for path in left:
        os.utime(path, (time.time() - 3600,) * 2)
    with new_bundle(old, force=True) as aside:  # the next start
        assert set(old.parent.iterdir()) == {old, aside}
        shutil.copytree(new, aside, dirs_exist_ok=True)
    assert list(old.parent.iterdir()) == [old]
    assert content(old) == wanted


def test_without_an_exchange_in_one_step(bundles, old, monkeypatch):
    monkeypatch.setattr(bundle_writer, "_exchange", lambda new, folder: False)
    with new_bundle(old, force=True) as aside:
        shutil.copytree(bundles("identity"), aside, dirs_exist_ok=True)
    assert content(old) == content(bundles("identity"))
    assert list(old.parent.iterdir()) == [old]


def test_a_web_site_with_a_manifest_is_no_bundle(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "manifest.json").write_text(json.dumps({"name": "my app", "icons": []}))
    (site / "index.html").write_text("precious")
    with pytest.raises(BundleError, match="is not a bundle that this derain knows"):
        check_target(site, force=True)


@pytest.mark.parametrize("name", ["notes.txt", ".git", "results"])
def test_notes_in_a_bundle_are_the_user_s(old, name):
    if "." in name[1:]:
        (old / name).write_text("precious")
    else:
        (old / name).mkdir()
    with pytest.raises(BundleError, match="holds more than its bundle: ") as caught:
        check_target(old, force=True)
    assert name in str(caught.value)


def test_notes_that_come_during_the_export_are_kept(old):
    def build():
        with new_bundle(old, force=True):
            (old / "notes.txt").write_text("precious")

    with pytest.raises(BundleError, match="holds more than its bundle"):
        build()
    assert (old / "notes.txt").read_text() == "precious"
    assert Bundle.open(old)
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file/b", "is no folder; choose another"),
        ("n" * 300, "File name too long; choose another"),
        ("/proc/b", "/proc/b cannot be written: "),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(tmp_path, place, says):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(BundleError, match=says):
        check_target(tmp_path / place, force=False)
