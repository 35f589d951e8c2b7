"""Cameras: what stands in for OpenCV's records what it is asked for."""

import itertools
import time

import cv2
import numpy as np
import pytest

from derain.core.errors import MediaError, SourceLostError
from derain.core.sizes import Size
from derain.runtime.pipeline.capture import Capture
from derain.runtime.video.sources import open_source


class FakeCamera:
    """A camera of 64x48 at 30 frames/s, with ``count`` frames."""

    opened = True
    count = 1_000_000
    made = None

    def __init__(self, path, backend):
        self.path, self.backend = path, backend
        self.settings, self.released, self.taken = {}, False, 0
        type(self).made = self

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.opened

    def set(self, name, value):
        self.settings[name] = value

    def get(self, name):
        return {cv2.CAP_PROP_FPS: 30.0}[name]

    def grab(self):
        assert not self.released
        time.sleep(0.002)
        self.taken += 1
        return self.taken <= self.count

    def retrieve(self):
        return True, np.full((48, 64, 3), self.taken % 256, np.uint8)

    def read(self):
        return self.retrieve() if self.grab() else (False, None)

    def release(self):
        self.released = True


@pytest.fixture
def device(tmp_path, monkeypatch):
    """The URI of a camera that is there."""
    camera = type("Camera", (FakeCamera,), {})
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    path = tmp_path / "video7"
    path.touch()
    return camera, f"v4l2://{path}"


def test_a_camera_is_asked_for_size_rate_and_format(device):
    camera, uri = device
    with Capture(open_source(f"{uri}?size=640x480&fps=15&format=YUYV")):
        assert camera.made.settings == {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV"),
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 15.0,
        }
        assert camera.made.backend == cv2.CAP_V4L2


def test_frames_have_the_size_and_time_of_the_camera(device):
    before = time.monotonic()
    with Capture(open_source(device[1])) as source:
        assert source.info.live
        assert source.info.size == Size(64, 48)
        assert source.info.fps == 30
        frames = list(itertools.islice(source, 5))
    assert all(before < frame.captured <= time.monotonic() for frame in frames)
    assert all(one.time < two.time for one, two in itertools.pairwise(frames))
    assert {frame.time % source.info.time_base for frame in frames} == {0}


def test_a_slow_reader_gets_the_newest_frame(device, until):
    camera, uri = device
    with Capture(open_source(uri)) as source:
        frames = iter(source)
        next(frames)
        wanted = camera.made.taken + 30
        until(lambda: camera.made.taken >= wanted)
        next(frames)  # one may have been taken before we looked away
        assert next(frames).index >= wanted - 2


def test_a_camera_that_is_unplugged_is_lost(device):
    camera, uri = device
    camera.count = 5
    with (
        Capture(open_source(uri)) as source,
        pytest.raises(SourceLostError, match=r"video7 is lost after \d+ s: no frame"),
    ):
        list(source)


def test_closing_releases_the_camera(device, until):
    source = Capture(open_source(device[1]))
    next(iter(source))
    source.close()
    until(lambda: device[0].made.released)
    assert list(source) == []


def test_no_such_camera(device):
    with pytest.raises(MediaError, match=r"no camera .*/video9; there are .*video7"):
        open_source(device[1].replace("video7", "video9"))


def test_a_camera_that_may_not_be_used(device, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(MediaError, match=r"run: sudo usermod -aG video \$USER"):
        open_source(device[1])


def test_a_camera_that_is_in_use(device):
    device[0].opened = False
    with pytest.raises(MediaError, match=r"another program may use it.*fuser -v"):
        open_source(device[1])
    assert device[0].made.released


def test_a_camera_that_sends_nothing(device):
    device[0].count = 0
    with pytest.raises(MediaError, match=r"sends no frame; another size or format"):
        open_source(device[1])


@pytest.mark.parametrize(
    "uri", ["camera:x", "camera:0?zoom=2", "v4l2://video0", "camera:0?format=H.264"]
)
def test_other_forms(uri):
    with pytest.raises(MediaError, match=r"is not of the form (camera:0|v4l2:///dev)"):
        open_source(uri)
