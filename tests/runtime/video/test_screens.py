"""Sinks that show frames to somebody: a window, and a loopback camera."""

import struct
from contextlib import closing
from fractions import Fraction

import cv2
import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
from derain.runtime.video.sinks.loopback import VIDIOC_S_FMT, pack_format

INFO = SourceInfo(description="", time_base=Fraction(1, 25), fps=Fraction(25))


def frame(image):
    return Frame(image, 0, Fraction(0))


@pytest.fixture
def screen(monkeypatch):
    """What OpenCV with windows would do, and what it is told."""
    told = {"shown": [], "key": 255, "visible": 1.0, "closed": 0}
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:    GTK3\n")
    monkeypatch.setattr(cv2, "namedWindow", lambda name, kind: None)
    monkeypatch.setattr(cv2, "resizeWindow", lambda name, width, height: None)
    monkeypatch.setattr(cv2, "imshow", lambda name, image: told["shown"].append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: told["key"])
    monkeypatch.setattr(cv2, "getWindowProperty", lambda name, which: told["visible"])

    def close(name):
        told["closed"] += 1

    monkeypatch.setattr(cv2, "destroyWindow", close)
    return told


def test_a_window_shows_frames(screen, image):
    with closing(open_sink("window:", INFO, SinkOptions())) as sink:
        sink.write(frame(image()))
    assert len(screen["shown"]) == 1
    assert screen["closed"] == 1


@pytest.mark.parametrize(("field", "value"), [("key", ord("q")), ("visible", 0.0)])
def test_a_window_that_is_closed(screen, image, field, value):
    with closing(open_sink("window:", INFO, SinkOptions())) as sink:
        screen[field] = value
        with pytest.raises(MediaError, match=r"the window was closed"):
            sink.write(frame(image()))


def test_opencv_without_windows(screen, monkeypatch):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:     NONE\n")
    with pytest.raises(MediaError, match=r"no windows; run: pip uninstall"):
        open_sink("window:", INFO, SinkOptions())


def test_no_screen(screen, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(MediaError, match=r"there is no screen"):
        open_sink("window:", INFO, SinkOptions())


@pytest.mark.skipif(struct.calcsize("P") != 8, reason="written for 64 bits")
def test_the_format_is_packed_as_the_kernel_reads_it():
    # <linux/videodev2.h>, compiled for x86-64 and aarch64.
    assert VIDIOC_S_FMT == 0xC0D05605
    packed = pack_format(Size(640, 480))
    assert len(packed) == 208
    assert packed[:40] == bytes.fromhex(
        "02000000 00000000"  # V4L2_BUF_TYPE_VIDEO_OUTPUT, padding
        "80020000 e0010000"  # 640, 480
        "59553132 01000000"  # YU12, V4L2_FIELD_NONE
        "80020000 00080700"  # bytes a line, bytes a frame: 460800
        "01000000 00000000"  # V4L2_COLORSPACE_SMPTE170M, nothing private
    )
    assert not any(packed[40:])


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A file in place of a device, and the ioctls that it is sent."""
    sent = []
    monkeypatch.setattr("fcntl.ioctl", lambda *call: sent.append(call[1:]))
    path = tmp_path / "video9"
    path.touch()
    return path, sent


def test_a_loopback_device_gets_planar_frames(device, image, closeness):
    path, sent = device
    with closing(open_sink(f"v4l2://{path}", INFO, SinkOptions())) as sink:
        sink.write(frame(image()))
        sink.write(frame(image()))
    assert sent == [(VIDIOC_S_FMT, pack_format(Size(64, 48)))]
    data = path.read_bytes()
    assert len(data) == 2 * 64 * 48 * 3 // 2
    planes = np.frombuffer(data[: len(data) // 2], np.uint8).reshape(72, 64)
    # A smooth picture, after 4:2:0 and back.
    assert closeness(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), image()) <= 12


def test_odd_frames_lose_a_line(device, image):
    path, sent = device
    with closing(open_sink(f"v4l2://{path}", INFO, SinkOptions())) as sink:
        sink.write(frame(image(Size(65, 49))))
    assert sent[0][1] == pack_format(Size(64, 48))
    assert path.stat().st_size == 64 * 48 * 3 // 2


def test_no_loopback_device():
    with pytest.raises(MediaError, match=r"no device /dev/video99; run: sudo modprobe"):
        open_sink("v4l2:///dev/video99", INFO, SinkOptions())


def test_what_is_no_video_output(tmp_path, image):
    (tmp_path / "file").touch()
    with (
        closing(open_sink(f"v4l2://{tmp_path}/file", INFO, SinkOptions())) as sink,
        pytest.raises(MediaError, match=r"it is no video output"),
    ):
        sink.write(frame(image()))
