"""Bundles with states from file to file: what comes out is what NumPy makes of it."""

import re

import numpy as np
import pytest

from derain.core.errors import ConfigError
from derain.core.pictures import read_picture, write_picture
from derain.core.sizes import Size, SizeRange
from derain.runtime.frame_fit import FrameFit
from derain.runtime.pipeline.run import run
from support.memory_network import Fading, Seeing, clip_of

NETWORKS = pytest.mark.parametrize("network", [Fading, Seeing])


@pytest.fixture
def bundle(tmp_path):
    def make(network, size="64x48"):
        made = network(size)
        golden = clip_of(4, Size.parse(size))
        return made.bundle(tmp_path / f"{network.__name__}-{size}", golden), made

    return make


@pytest.fixture
def written(tmp_path):
    """Writes pictures into a folder, and returns it."""

    def write(pictures, name="in"):
        folder = tmp_path / name
        folder.mkdir()
        for index, picture in enumerate(pictures):
            write_picture(folder / f"{index:03}.png", picture)
        return folder

    return write


def results(folder):
    return [read_picture(path) for path in sorted(folder.iterdir())]


def resets(report):
    return {name: n for name, n in report.statistics["resets"].items() if n}


@NETWORKS
@pytest.mark.parametrize("steps", [False, True], ids=["stream", "step"])
def test_scenes_are_clips_of_their_own(
    bundle, written, fakes, tmp_path, network, steps
):
    folder, made = bundle(network)
    scenes = [
        list(fakes.scene(seed, count)) for seed, count in ((1, 5), (2, 1), (3, 4))
    ]
    source = written([picture for scene in scenes for picture in scene])
    others = [folder] if steps else []  # where there is a choice, one by one
    report = run(folder, source, tmp_path / "out", bundles=others)
    expected = [picture for scene in scenes for picture in made.derain(scene)]
    np.testing.assert_array_equal(results(tmp_path / "out"), expected)
    assert resets(report) == {"cut": 2}
    assert report.statistics["derained"] == 10


@pytest.mark.parametrize("steps", [False, True], ids=["stream", "step"])
def test_a_bad_frame_does_not_poison_the_rest(bundle, written, fakes, tmp_path, steps):
    """White makes a state of this network NaN."""
    folder, made = bundle(Fading)
    clip = list(fakes.scene(1, 8))
    white = np.full_like(clip[0], 255)
    source = written([*clip[:3], white, *clip[4:]])
    others = [folder] if steps else []  # where there is a choice, one by one
    report = run(folder, source, tmp_path / "out", bundles=others)
    got = results(tmp_path / "out")
    np.testing.assert_array_equal(got[:3], made.derain(clip[:3]))
    np.testing.assert_array_equal(got[3], white)
    np.testing.assert_array_equal(got[4:], made.derain(clip[4:]))
    assert resets(report)["nan"] == 1
    assert (report.statistics["derained"], report.frames) == (7, 8)


@NETWORKS
@pytest.mark.parametrize("steps", [False, True], ids=["stream", "step"])
def test_fitted_frames_are_a_clip_whose_rain_is_taken_off_them(
    bundle, written, fakes, tmp_path, network, steps
):
    folder, made = bundle(network, "48x30")
    clip = list(fakes.scene(1, 5))
    fit = FrameFit.of(Size(64, 48), SizeRange.parse("48x30"))
    shown = [fit.into(picture) for picture in clip]
    others = [folder] if steps else []
    source, out = written(clip), tmp_path / "out"
    report = run(folder, source, out, bundles=others, resize=True)
    expected = map(fit.back, clip, shown, made.derain(shown))
    np.testing.assert_array_equal(results(out), list(expected))
    assert report.statistics["derained"] == 5


def test_each_bundle_remembers_its_own_frames(bundle, written, fakes, tmp_path):
    (large, sees), (small, fades) = bundle(Seeing), bundle(Fading, "32x24")
    clips = [
        (network, list(fakes.scene(seed, 3, size=Size.parse(size))))
        for seed in (1, 2)
        for network, size in ((sees, "64x48"), (fades, "32x24"))
    ]
    source = written([picture for _, clip in clips for picture in clip])
    report = run(large, source, tmp_path / "out", bundles=[small])
    expected = [picture for made, clip in clips for picture in made.derain(clip)]
    for got, wanted in zip(results(tmp_path / "out"), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert resets(report) == {"size": 3}


@NETWORKS
def test_a_video_keeps_its_frames_times_and_audio(
    bundle, make_video, play, tmp_path, network
):
    folder, _ = bundle(network)
    source = make_video(tmp_path / "in.mp4", 20, size=Size(64, 48), audio="aac")
    report = run(folder, source, tmp_path / "out.mp4")
    before, after = play(source), play(tmp_path / "out.mp4")
    assert report.frames == 20
    assert after.times == before.times
    assert after.audio_bytes == before.audio_bytes
    assert resets(report) == {}


def test_a_limit_takes_no_frame_too_many(bundle, written, fakes, tmp_path):
    folder, made = bundle(Seeing)
    clip = list(fakes.scene(1, 6))
    report = run(folder, written(clip), tmp_path / "out", limit=4)
    expected = made.derain(clip[:4])
    np.testing.assert_array_equal(results(tmp_path / "out"), expected)
    assert report.statistics["captured"] == 4


def test_a_latency_without_room_for_the_look_ahead_is_one_line(bundle, monkeypatch):
    """Before the network is loaded."""
    folder, _ = bundle(Seeing)
    monkeypatch.setattr("derain.runtime.pipeline.engine.Derainer", None)
    source = "test://rain?size=64x48&fps=25&live=1"
    message = f"--max-latency-ms 40 leaves no room for the look-ahead of {folder}: 1 of"
    with pytest.raises(ConfigError, match=re.escape(message)):
        run(folder, source, "null:", max_latency_ms=40)


def test_live_frames_are_as_many_as_came_and_are_counted(bundle):
    folder, _ = bundle(Seeing)
    source = "test://rain?size=64x48&fps=25&live=1&seconds=2"
    report = run(folder, source, "null:", limit=6, max_latency_ms=60_000)
    counts = report.statistics
    parts = ("derained", "passed_through", "dropped")
    assert counts["captured"] == sum(counts[part] for part in parts)
    assert counts["derained"] >= 6
    assert counts["age_ms"]["p50"] >= 40 * 0.8  # a frame's time, and the rest
