"""Several cameras in one process: none touches another."""

import itertools
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from derain.core.errors import BundleError, EngineError, MediaError
from derain.core.sizes import Size
from derain.runtime.pipeline import stream_parts
from derain.runtime.pipeline.cameras import CameraConfig
from derain.runtime.pipeline.engine import Engine
from derain.runtime.pipeline.fleet import Fleet
from derain.runtime.pipeline.options import CameraOptions, RunOptions
from derain.runtime.pipeline.reload import Reload
from support.memory_network import Fading, clip_of

MS = Fraction(1, 1000)


@pytest.fixture
def stand_ins(monkeypatch):
    """Sources and sinks by address: what is put in here is what is opened."""
    sources, sinks = {}, {}

    def open_source(uri, fps=None):
        return sources[uri]()

    monkeypatch.setattr(stream_parts, "open_source", open_source)
    monkeypatch.setattr(stream_parts, "open_sink", lambda uri, *rest: sinks[uri])
    return sources, sinks


@pytest.fixture
def camera(stand_ins, fakes):
    """A camera of flat pictures, and its screen: ``camera(name, level, ...)``."""
    sources, sinks = stand_ins

    def make(name, level, count=8, size=fakes.SIZE, source=None, **options):
        image = np.full((size.height, size.width, 3), level, np.uint8)
        uri = f"rtsp://{name}"

        def opened():
            wait = lambda: time.sleep(0.005)  # noqa: E731
            return fakes.Camera(itertools.repeat(image), wait)

        sources[uri] = source or opened
        sinks[name] = screen = fakes.Screen(name=name, keeps=True)
        options = CameraOptions(**{"limit": count, **options})
        return CameraConfig(
            name=name, source=uri, sinks=(name,), options=options
        ), screen

    return make


@pytest.fixture
def serve(bundles):
    """Runs cameras to their end on one bundle."""

    def run(*cameras, bundle="any", **options):
        return Fleet(bundles(bundle), cameras, RunOptions(), **options).run()

    return run


def levels(screen):
    return {int(frame.image[0, 0, 0]) for frame in screen.frames}


def test_each_camera_gets_its_own_frames(camera, serve):
    made = [
        camera(f"c{number}", 40 * number, size=Size(64, 48 + number))
        for number in range(1, 5)
    ]
    report = serve(*(each for each, _ in made))
    for number, (each, screen) in enumerate(made, 1):
        assert len(screen.frames) == 8
        assert levels(screen) == {20 * number}  # darkened
        assert {frame.image.shape[0] for frame in screen.frames} == {48 + number}
        assert screen.closed == 1
        assert report.cameras[each.name].frames == 8
    assert (report.frames, report.failures) == (32, {})
    text = str(report)
    assert "c1" in text
    assert "32 frames in" in text


def test_each_camera_has_its_own_memory(tmp_path, camera, stand_ins, image):
    """What one remembers is not what another one sees."""
    size = Size(64, 48)
    network = Fading("64x48")
    folder = network.bundle(tmp_path / "bundle", clip_of(4, size, seed=9))
    clips = {
        name: np.stack([image(shift=30 * number + index) for index in range(5)])
        for number, name in enumerate(("a", "b", "c"))
    }
    sources, sinks = stand_ins
    cameras = []
    for name, clip in clips.items():
        made, _ = camera(name, 0)

        def source(clip=clip):
            return File(clip)

        sources[f"rtsp://{name}"] = source
        cameras.append(made)
    Fleet(folder, cameras, RunOptions()).run()
    for name, clip in clips.items():
        shown = [frame.image for frame in sinks[name].frames]
        np.testing.assert_array_equal(shown, network.derain(clip))


class File:
    """A source that waits for its reader."""

    def __init__(self, images):
        from derain.runtime.video.frames import SourceInfo

        self.images = images
        self.info = SourceInfo(description="file", time_base=MS, fps=Fraction(25))

    def __iter__(self):
        from derain.runtime.video.frames import Frame

        for index, image in enumerate(self.images):
            yield Frame(image, index, index * MS)

    def interrupt(self):
        pass

    def close(self):
        pass


def test_the_first_camera_has_the_memory_that_is_there(bundles):
    from contextlib import ExitStack

    engine = Engine(bundles("any"), RunOptions())
    with ExitStack() as stack:
        derainer = engine.load(stack)
        first, second = engine.memory(), engine.memory()
        assert first.session is derainer
        assert second.session is not derainer
        assert second.choose(Size(64, 48)) is second.session
        first.close()
        assert engine.memory().session is derainer


@pytest.mark.parametrize("how", ["dies", "another size", "its sink", "a bug"])
def test_one_that_fails_ends_alone(camera, serve, fakes, how, said):
    good, screen = camera("good", 100, count=40)
    bad, broken = camera("bad", 50, count=None)
    image = np.full((48, 64, 3), 50, np.uint8)
    if how == "dies":
        bad, broken = camera(
            "bad",
            0,
            count=None,
            source=lambda: fakes.Camera([image] * 3, end=MediaError("bad is gone")),
        )
    elif how == "another size":
        tall = np.full((8000, 8, 3), 50, np.uint8)
        bad, broken = camera(
            "bad", 0, count=None, source=lambda: fakes.Camera([image, tall])
        )
    else:
        error = MediaError("no room") if how == "its sink" else ZeroDivisionError()
        broken.before = lambda frame: (_ for _ in ()).throw(error)
    report = serve(bad, good)
    assert report.cameras["good"].statistics["derained"] == 40
    assert levels(screen) == {50}
    expected = {
        "dies": "bad is gone",
        "another size": "frame 1: frame is 8x8000, the bundle takes",
        "its sink": "no room",
        "a bug": "ZeroDivisionError",
    }[how]
    assert list(report.failures) == ["bad"]
    assert expected in report.failures["bad"]
    assert any(line.startswith("bad: ") and "go on" in line for line in said())
    assert broken.closed == 1
    assert report.cameras["bad"].statistics["state"] == "failed"


def test_an_engine_that_refuses_one_camera_serves_the_other(camera, serve, monkeypatch):
    from derain.runtime.session import Session

    derain = Session.derain

    def refusing(self, frame):
        if frame[0, 0, 0] == 50:
            raise EngineError("no room on the device")
        return derain(self, frame)

    monkeypatch.setattr(Session, "derain", refusing)
    (bad, _), (good, screen) = camera("bad", 50), camera("good", 100, count=20)
    report = serve(bad, good)
    assert len(screen.frames) == 20
    assert report.failures == {"bad": "no room on the device"}


def test_a_bug_in_the_step_of_one_camera_is_its_own(camera, serve, monkeypatch):
    from derain.runtime.session import Session

    derain = Session.derain

    def broken(self, frame):
        if frame[0, 0, 0] == 50:
            raise ZeroDivisionError("a bug")
        return derain(self, frame)

    monkeypatch.setattr(Session, "derain", broken)
    (bad, screen), (good, _) = camera("bad", 50), camera("good", 100, count=20)
    report = serve(bad, good)
    assert report.cameras["good"].statistics["derained"] == 20
    assert report.failures == {"bad": "ZeroDivisionError: a bug"}
    assert screen.closed == 1


def test_a_flood_leaves_the_others_their_frames(camera, serve, fakes):
    """It comes as fast as it can; the other one misses none."""
    image = np.full((48, 64, 3), 50, np.uint8)
    stop = threading.Event()

    def images():
        while not stop.is_set():
            yield image

    flood, _ = camera("flood", 0, count=None, source=lambda: fakes.Camera(images()))
    calm, screen = camera("calm", 100, count=None)
    screen.before = lambda frame: len(screen.frames) > 60 and stop.set()
    report = serve(flood, calm, stopped=stop.is_set)
    assert report.cameras["calm"].statistics["derained"] > 60
    counts = report.cameras["flood"].statistics
    assert counts["captured"] == counts["derained"] + counts["dropped"]


def test_one_that_is_not_there_yet_keeps_nobody_waiting(
    camera, serve, fakes, said, monkeypatch
):
    monkeypatch.setattr("derain.runtime.pipeline.capture.FIRST_PAUSE_S", 0.01)
    tries = []
    image = np.full((48, 64, 3), 60, np.uint8)

    def late():
        tries.append(1)
        if len(screen.frames) < 5:
            raise MediaError("rtsp://late cannot be opened: refused")
        return fakes.Camera(itertools.repeat(image), lambda: time.sleep(0.005))

    good, screen = camera("good", 100, count=10)
    made, shown = camera("late", 0, source=late)
    report = serve(made, good)
    assert (len(screen.frames), len(shown.frames)) == (10, 8)
    assert len(tries) > 1
    assert (
        said().count("late: rtsp://late cannot be opened: refused; trying again") == 1
    )
    assert report.failures == {}


def test_a_lost_source_comes_back_beside_the_others(
    camera, serve, fakes, said, monkeypatch
):
    monkeypatch.setattr("derain.runtime.pipeline.capture.FIRST_PAUSE_S", 0.01)
    image = np.full((48, 64, 3), 60, np.uint8)

    def source():
        return fakes.Camera([image] * 3, end=fakes.lost())

    lossy, shown = camera("lossy", 0, count=7, source=source)
    good, _ = camera("good", 100, count=30)
    report = serve(lossy, good)
    assert len(shown.frames) >= 7  # and stand-ins
    assert report.cameras["good"].statistics["derained"] == 30
    assert report.cameras["lossy"].statistics["reconnects"] >= 2
    assert any(line.startswith("lossy: the source is back after") for line in said())


def test_what_ends_as_it_was_wanted_is_whole(camera, serve, fakes, image):
    """And a file that is stopped, and a camera that fails, are not."""
    pictures = [image()] * 4

    def endless():
        return File(itertools.repeat(pictures[0]))

    made = {
        "limited": camera("limited", 40, 4),
        "removed": camera("removed", 40, None),
        "live": camera("live", 40, None),
        "read": camera("read", 0, None, source=lambda: File(pictures)),
        "stopped": camera("stopped", 0, None, source=endless),
        "cut off": camera("cut off", 0, None, source=endless),
        "failed": camera(
            "failed", 0, None, source=lambda: fakes.Camera(pictures, end=MediaError(""))
        ),
    }
    screens = {name: screen for name, (_, screen) in made.items()}

    asked = []

    def changed():
        busy = all(len(screens[name].frames) > 3 for name in made if name != "failed")
        if asked or not busy or not screens["failed"].closed:
            return None
        asked.append(True)
        gone = ("removed", "cut off", "failed")
        return [config for name, (config, _) in made.items() if name not in gone]

    over = ("removed", "cut off", "limited", "read")
    stopped = lambda: all(screens[name].closed for name in over)  # noqa: E731
    serve(*(config for config, _ in made.values()), changed=changed, stopped=stopped)
    assert {name for name, screen in screens.items() if screen.finished} == {
        *("limited", "removed", "live", "read")
    }
    assert all(screen.closed for screen in screens.values())


def test_cameras_come_and_go(camera, serve, said):
    (first, one), (second, two) = camera("first", 40, None), camera("second", 80, 10)
    kept, three = camera("kept", 100, None)

    def changed():
        if len(one.frames) > 3 and not changed.done:
            changed.done = True
            return [kept, second]
        return None

    changed.done = False
    stopped = lambda: len(two.frames) >= 10 and len(three.frames) > 20  # noqa: E731
    report = serve(first, kept, changed=changed, stopped=stopped)
    assert one.closed == two.closed == three.closed == 1
    assert levels(two) == {40}
    assert report.cameras.keys() == {"first", "second", "kept"}
    assert report.failures == {}
    assert (
        "the configuration was read again: 1 cameras go on, 1 were closed, 1 opened"
        in said()
    )


def test_a_file_that_cannot_be_read_again_changes_nothing(tmp_path, said):
    path, asked = tmp_path / "cameras.toml", threading.Event()
    text = '[[camera]]\nname = "a"\nsource = "x"\nsink = "null:"\n'
    path.write_text(text)
    reload = Reload(path, CameraOptions(), asked, need_sinks=True)
    assert reload.asked() is None
    path.write_text(text + text)
    asked.set()
    assert reload.asked() is None
    path.write_text("[[camera")
    asked.set()
    assert reload.asked() is None
    path.unlink()
    asked.set()
    assert reload.asked() is None
    lines = said()
    assert len(lines) == 3
    assert lines[0].endswith(
        "two cameras are called 'a'; give each its own name; the "
        "cameras go on as before"
    )
    assert "is not TOML" in lines[1]
    assert "cannot be read: No such file" in lines[2]
    path.write_text("crf = 20\n" + text)
    asked.set()
    (camera,) = reload.asked()
    assert camera.name == "a"
    assert said()[-1].endswith(
        "crf outside of [[camera]] takes effect at the next start"
    )


def test_nothing_is_left_behind(camera, serve, bundles, tmp_path):
    before = set(threading.enumerate())
    (a, _), (b, screen) = camera("a", 40), camera("b", 80)
    serve(a, b)
    assert set(threading.enumerate()) <= before
    with pytest.raises(BundleError):
        Fleet(tmp_path, [a], RunOptions())
    assert screen.closed == 1


def test_a_file_that_is_missing_is_told_before_anything_runs(bundles, tmp_path):
    cameras = [
        CameraConfig(
            name=name, source=source, sinks=("null:",), options=CameraOptions()
        )
        for name, source in (
            ("a", "test://rain?size=64x48&live=1"),
            ("b", str(tmp_path / "nothing.mp4")),
        )
    ]
    before = set(threading.enumerate())
    with pytest.raises(MediaError, match=r"^b: .*nothing.mp4 cannot be read: No such"):
        Fleet(bundles("any"), cameras, RunOptions()).run()
    assert set(threading.enumerate()) <= before
