from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.core.pictures import write_picture
from derain.runtime.video.sources import open_source
from derain.runtime.video.sources.pictures import natural_key


def test_names_are_sorted_as_people_count():
    names = ["b1", "a10.png", "a9.png", "A9b.png", "a11.png", "10", "9", "a8.png"]
    got = [path.name for path in sorted(map(Path, names), key=natural_key)]
    assert got == ["9", "10", "a8.png", "a9.png", "A9b.png", "a10.png", "a11.png", "b1"]


def test_folder_takes_pictures_alone(tmp_path, image):
    for name in ("2.png", "10.JPG", "1.bmp", "._2.png"):
        write_picture(tmp_path / name, image())
    (tmp_path / "Thumbs.db").write_text("x")
    (tmp_path / "3.png").mkdir()
    source = open_source(str(tmp_path))
    assert [frame.name for frame in source] == ["1.bmp", "2.png", "10.JPG"]
    assert source.info.frames == 3
    assert source.info.size is None
    assert source.info.description == f"{tmp_path}, 3 pictures"


def test_glob_goes_into_folders(tmp_path, image):
    for name in ("b/2.png", "a/1.png", "a/deep/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_picture(tmp_path / name, image())
    frames = open_source(f"{tmp_path}/**/*.png")
    assert [frame.name for frame in frames] == ["1.png", "3.png", "2.png"]


def test_a_picture_whose_name_looks_like_a_glob(tmp_path, image):
    write_picture(tmp_path / "rain[1].png", image())
    (frame,) = open_source(str(tmp_path / "rain[1].png"))
    np.testing.assert_array_equal(frame.image, image())


def test_times_come_from_the_rate(picture_folder):
    frames = list(open_source(str(picture_folder()), Fraction(30000, 1001)))
    assert [frame.time for frame in frames] == [
        Fraction(1001 * i, 30000) for i in range(3)
    ]
    assert {frame.duration for frame in frames} == {Fraction(1001, 30000)}
    assert [str(frame) for frame in frames] == [
        "frame0.png",
        "frame1.png",
        "frame2.png",
    ]


def test_a_picture_that_goes_away_is_named(picture_folder):
    folder = picture_folder()
    frames = iter(open_source(str(folder)))
    next(frames)
    (folder / "frame1.png").unlink()
    with pytest.raises(MediaError, match=r"frame1\.png cannot be read"):
        next(frames)
