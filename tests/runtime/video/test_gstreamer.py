"""Pipelines of GStreamer; where it is not there, what stands in for it is a script."""

import itertools
import os
import time
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("av")

from derain.core.errors import MediaError, SourceLostError
from derain.core.sizes import Size
from derain.runtime.pipeline.capture import Capture
from derain.runtime.video.sources import open_source

SOURCE = "gst:videotestsrc is-live=true pattern={} ! video/x-raw,width=64,height=48"
Y4M = "YUV4MPEG2 W16 H8 F30:1 Ip A1:1\\nFRAME\\n"


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Puts a ``gst-launch-1.0`` on the path that does what a shell script says."""

    def make(script):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "gst-launch-1.0"
        program.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/words\necho $$ > {tmp_path}/pid\n'
            f"{script}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return tmp_path

    return make


def frames_of(count):
    return f"printf '{Y4M}'; head -c 192 /dev/zero; " + (
        "printf 'FRAME\\n'; head -c 192 /dev/zero; " * (count - 1)
    )


@pytest.mark.parametrize(
    ("pattern", "bgr"),
    [("red", (0, 0, 255)), ("green", (0, 255, 0)), ("blue", (255, 0, 0))],
)
def test_colours_of_a_pipeline(has_gstreamer, pattern, bgr):
    before = time.monotonic()
    with Capture(open_source(SOURCE.format(pattern))) as source:
        assert source.info.live
        assert source.info.size == Size(64, 48)
        frames = list(itertools.islice(source, 3))
    for frame in frames:
        assert before < frame.captured <= time.monotonic()
        # Two conversions, each rounded.
        np.testing.assert_allclose(frame.image.mean(axis=(0, 1)), bgr, atol=3)


def test_odd_sizes(has_gstreamer):
    uri = "gst:videotestsrc ! video/x-raw,width=63,height=47"
    with Capture(open_source(uri)) as source:
        assert next(iter(source)).image.shape == (47, 63, 3)


def test_a_pipeline_that_ends_is_an_end(has_gstreamer):
    with Capture(open_source("gst:videotestsrc num-buffers=20")) as source:
        frames = list(source)
    assert frames[-1].index == 19  # the newest is the last


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("nosuchelement", 'no element "nosuchelement"'),
        ("filesrc location=/no/file ! decodebin", "Resource not found"),
        ("videotestsrc ! video/x-raw,width='", "No closing quotation"),
    ],
)
def test_a_pipeline_that_fails_says_why(has_gstreamer, pipeline, reason):
    with pytest.raises(MediaError, match=reason) as caught:
        open_source(f"gst:{pipeline}")
    assert "\n" not in str(caught.value)


def test_without_gstreamer(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MediaError, match=r"needs gst-launch-1.0; run: sudo apt install"
    ):
        open_source("gst:videotestsrc")


def test_a_pipeline_that_fails_later_is_lost(launcher):
    launcher(f"{frames_of(2)} echo 'ERROR: from element x: unplugged' >&2; exit 1")
    with (
        Capture(open_source("gst:anything")) as source,
        pytest.raises(SourceLostError, match=r"is lost.*: from element x: unplugged"),
    ):
        list(source)


def test_a_password_in_a_pipeline_is_not_shown(launcher):
    launcher("echo 'ERROR: no rtsp://me:secret@camera/live' >&2; exit 1")
    with pytest.raises(MediaError, match=r"no rtsp://camera/live"):
        open_source("gst:rtspsrc location=rtsp://me:secret@camera/live")


def test_closing_ends_the_process_and_what_it_started(launcher, until):
    folder = launcher(
        f"sleep 600 & echo $! > sleeper; {frames_of(1)} wait".replace(
            "sleeper", '"$(dirname "$0")"/sleeper'
        )
    )
    source = Capture(open_source("gst:anything"))
    source.close()
    for file in (folder / "pid", folder / "bin/sleeper"):
        process = int(file.read_text())
        until(lambda process=process: not is_running(process))


def is_running(process):
    with suppress(OSError), open(f"/proc/{process}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_csi_camera_is_asked_for_size_and_rate(launcher):
    folder = launcher(f"{frames_of(3)} sleep 600")
    with Capture(open_source("csi://1?size=1920x1080&fps=60")) as source:
        assert next(iter(source)).size == Size(16, 8)
    words = (folder / "words").read_text()
    assert (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,"
        "height=1080,framerate=60/1 ! nvvidconv ! video/x-raw,format=I420 ! "
    ) in words
    assert words.rstrip().endswith("! fdsink fd=1")


def test_a_csi_camera_that_ends_is_lost(launcher):
    launcher(frames_of(2))
    with (
        Capture(open_source("csi://0")) as source,
        pytest.raises(SourceLostError, match=r"csi://0 is lost"),
    ):
        list(source)


@pytest.mark.parametrize("uri", ["csi://x", "csi://0?size=big", "csi://0?speed=9"])
def test_other_forms(uri):
    with pytest.raises(MediaError, match=r"is not of the form csi://0\?size="):
        open_source(uri)
