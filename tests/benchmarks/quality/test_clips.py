"""Where clips are read from, and what rain falls on clean ones."""

import numpy as np
import pytest

pytest.importorskip("torch")

from derain.benchmarks.quality.clips import open_clips, read_rain
from derain.core.errors import ConfigError, MediaError, ShapeError
from derain.core.pairs import Pair
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.core.synthetic.rain import PRESETS, rainy_clip

SIZE = Size(48, 40)


@pytest.fixture
def frames():
    """A clip of six frames: rainy and clean."""
    return list(rainy_clip(SIZE, 6))


@pytest.fixture
def write(tmp_path, frames):
    """Writes clips: ``write("a/rain", "a/clean")``; the folder that they are in."""

    def make(*folders):
        for folder in folders:
            (tmp_path / folder).mkdir(parents=True)
            for index, (rainy, clean) in enumerate(frames):
                picture = rainy if folder.endswith("rain") else clean
                write_picture(tmp_path / folder / f"{index}.png", picture)
        return tmp_path

    return make


def test_a_folder_with_rain_and_clean_is_a_clip(write, frames):
    (clip,) = open_clips(write("a/rain", "a/clean") / "a")
    assert clip.name == "a"
    for pair, (rainy, clean) in zip(clip.read(), frames, strict=True):
        np.testing.assert_array_equal(pair.rainy, rainy)
        np.testing.assert_array_equal(pair.clean, clean)
    assert len(list(clip.read())) == 6  # once more, from the first


def test_a_folder_of_such_folders_is_clips_in_order(write):
    folder = write("b/rain", "b/clean", "a/rain", "a/clean", "notes")
    assert [clip.name for clip in open_clips(folder)] == ["a", "b"]


def test_rain_falls_on_clean_clips(write, frames):
    folder = write("a", "b/rain", "b/clean")
    one, two = open_clips(folder, PRESETS["heavy"], seed=3)
    first = list(one.read())
    assert [pair.name for pair in first] == list("012345")
    np.testing.assert_array_equal(first[2].clean, frames[2][1])
    assert all((pair.rainy != pair.clean).any() for pair in first)
    # Another frame, another clip and another seed: another rain; the same, the same.
    rain = [each.rainy.astype(int) - each.clean for each in first]
    assert (rain[0] != rain[1]).any()
    assert (next(two.read()).rainy != first[0].rainy).any()
    again, _ = open_clips(folder, PRESETS["heavy"], seed=3)
    other, _ = open_clips(folder, PRESETS["heavy"], seed=4)
    np.testing.assert_array_equal(next(again.read()).rainy, first[0].rainy)
    assert (next(other.read()).rainy != first[0].rainy).any()


def test_dry_clips_are_clean_twice(write):
    (clip,) = open_clips(write("a"), dry=True)
    assert all(pair.rainy is pair.clean for pair in clip.read())


def test_clips_in_memory_have_names(frames):
    pairs = [Pair(str(k), *frame) for k, frame in enumerate(frames)]
    (clip,) = open_clips({"made up": pairs})
    assert (clip.name, len(list(clip.read()))) == ("made up", 6)


def test_folders_without_clips_say_what_is_wanted(write, tmp_path):
    folder = write("a")
    with pytest.raises(MediaError, match=r"wanted folders rain and clean.*--add-rain"):
        open_clips(folder)
    with pytest.raises(MediaError, match="no folder of clips"):
        open_clips(tmp_path / "nowhere")
    with pytest.raises(MediaError, match="there are no clips"):
        open_clips({})
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds no clips"):
        open_clips(tmp_path / "empty", PRESETS["light"])


def test_a_clip_has_one_size(frames):
    large = np.zeros((50, 60, 3), np.uint8)
    pairs = [Pair("0", *frames[0]), Pair("1", large, large)]
    (clip,) = open_clips({"a": pairs})
    with pytest.raises(ShapeError, match=r"a: frame 1 is 60x50 .* first is 48x40"):
        list(clip.read())


def test_rain_is_a_preset_or_a_file(tmp_path):
    assert read_rain("light") is PRESETS["light"]
    file = tmp_path / "thin.toml"
    file.write_text("length_px = 12.0\nlayers = 1\n")
    assert (read_rain(str(file)).length_px, read_rain(str(file)).layers) == (12.0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("length = 3", r"unknown setting 'length'; wanted angle_degrees"),
        ("length_px = 9000", r"length_px is 9000, wanted 1 to 400"),
        ('length_px = "long"', "rain.toml: "),
        ("length_px = ", "is not TOML"),
    ],
)
def test_rain_that_makes_no_sense_is_one_line(tmp_path, text, message):
    (tmp_path / "rain.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_rain(str(tmp_path / "rain.toml"))


def test_rain_that_is_not_there_names_the_presets():
    with pytest.raises(ConfigError, match=r"no rain 'hevy'; choose from light, "):
        read_rain("hevy")
