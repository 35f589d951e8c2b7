"""Several cameras from Python: their frames in a loop, or by calls."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from derain.core.errors import ConfigError, MediaError, StreamError
from derain.core.pictures import read_picture
from derain.core.sizes import Size
from derain.runtime.pipeline.run_cameras import run_cameras, watch
from derain.runtime.video.sinks.picture_files import FolderSink

LIVE = "test://rain?live=1&size=64x48&seed="


@pytest.fixture
def darken(bundles):
    return bundles("darken")


@pytest.fixture
def clips(tmp_path, make_video):
    """Two of its own length: 4 frames, and 6."""
    for name, count in (("a", 4), ("b", 6)):
        make_video(tmp_path / f"{name}.mp4", count, Size(64, 48))
    return {"yard": tmp_path / "a.mp4", "gate": {"source": tmp_path / "b.mp4"}}


def test_every_frame_of_files_comes_in_order(darken, clips, tmp_path):
    clips["gate"]["sink"] = [tmp_path / "gate.mp4"]
    seen = {"yard": [], "gate": []}
    for camera, frame in watch(darken, clips, backend="onnxruntime"):
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.mean() < frame.rainy.mean()
        seen[camera].append(frame.index)
    assert seen == {"yard": [0, 1, 2, 3], "gate": [0, 1, 2, 3, 4, 5]}
    assert (tmp_path / "gate.mp4").exists()


def test_a_loop_that_is_left_closes_live_cameras(darken):
    cameras = {"yard": LIVE + "1", "gate": {"source": LIVE + "2", "priority": 1}}
    with closing(watch(darken, cameras)) as frames:
        names = {camera for camera, _ in until_each_came(frames, {"yard", "gate"})}
    assert names == {"yard", "gate"}
    assert not [each for each in threading.enumerate() if each.name == "cameras"]


def until_each_came(frames, wanted):
    """`frames`, until one of each camera has come."""
    missing = set(wanted)
    for camera, frame in frames:
        missing.discard(camera)
        yield camera, frame
        if not missing:
            return


def test_a_frame_that_is_drawn_on_is_whole_in_the_other_sinks(
    darken, picture_folder, tmp_path
):
    """The file is written late: after the frame was drawn on."""
    camera = {"source": picture_folder(count=3), "sink": tmp_path / "out"}
    drawn = threading.Event()
    seen = []

    def draw(name, frame):
        seen.append(frame.image.copy())
        frame.image[:] = 0
        drawn.set()

    write = FolderSink.write

    def late(self, frame):
        drawn.wait(10)
        write(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderSink, "write", late)
        run_cameras(darken, {"yard": camera}, draw)
    for path, image in zip(sorted((tmp_path / "out").iterdir()), seen, strict=True):
        np.testing.assert_array_equal(read_picture(path), image)


def test_calls_and_the_report(darken, clips):
    calls = []
    report = run_cameras(
        darken, clips, lambda camera, frame: calls.append(camera), limit=5
    )
    assert (calls.count("yard"), calls.count("gate")) == (4, 5)
    assert {name: each.frames for name, each in report.cameras.items()} == {
        "yard": 4,
        "gate": 5,
    }


def test_a_call_that_raises_ends_its_camera_alone(darken, clips):
    def refuse(camera, frame):
        if camera == "yard":
            raise KeyError("mine")

    with pytest.raises(StreamError, match="1 of 2 cameras failed: yard") as caught:
        run_cameras(darken, clips, refuse)
    report = caught.value.report
    assert report.failures == {"yard": "KeyError: 'mine'"}
    assert report.cameras["gate"].frames == 6


def test_cameras_come_and_go(darken):
    seen, asked = set(), threading.Event()

    def on_frame(camera, frame):
        seen.add(camera)
        asked.set()

    def changed():
        if "gate" not in seen and asked.is_set():
            asked.clear()
            return {"gate": LIVE + "2"}
        return None

    run_cameras(
        darken,
        {"yard": LIVE + "1"},
        on_frame,
        changed=changed,
        stopped=lambda: "gate" in seen,
    )
    assert seen == {"yard", "gate"}


def test_cameras_that_are_told_of_again_are_no_others(darken, said):
    """Also where it is the same dict each time, which the caller has changed."""
    cameras, seen = {"yard": {"source": LIVE + "1"}}, set()

    def on_frame(camera, frame):
        seen.add(camera)
        cameras["gate"] = LIVE + "2"

    run_cameras(
        darken,
        cameras,
        on_frame,
        changed=lambda: cameras,
        stopped=lambda: "gate" in seen,
    )
    told = [line for line in said() if "the configuration was read again" in line]
    assert len(told) == 1, told


@pytest.mark.parametrize(
    ("cameras", "error", "message"),
    [
        ({}, ConfigError, "there are no cameras"),
        ({"yard": {"sink": "x.mp4"}}, ConfigError, "camera 'yard' has no source"),
        ({"yard": {"source": "x", "pace": 1}}, ConfigError, "unknown key 'pace'"),
        ({"my yard": "x.mp4"}, ConfigError, "'my yard' is no name for a camera"),
        ({"yard": "absent.mp4"}, MediaError, "yard: absent.mp4 .*"),
    ],
    ids=["none", "source", "key", "name", "absent"],
)
def test_what_makes_no_sense_is_one_line_in_the_loop(darken, cameras, error, message):
    with pytest.raises(error, match=message):
        list(watch(darken, cameras))


def test_a_camera_that_nobody_sees_is_one_line(darken):
    with pytest.raises(ConfigError, match="yard has no sink"):
        run_cameras(darken, {"yard": Path("x.mp4")})
