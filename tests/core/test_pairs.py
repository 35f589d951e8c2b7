"""Pairs side by side in a file, and in two folders."""

import numpy as np
import pytest

from derain.core.errors import MediaError, ShapeError
from derain.core.pairs import open_pairs
from derain.core.pictures import picture_paths, write_picture


def test_side_by_side_files_are_clean_at_the_left(pairs_folder, pairs):
    for got, wanted in zip(open_pairs(pairs_folder), pairs, strict=True):
        assert got.name == wanted.name
        np.testing.assert_array_equal(got.clean, wanted.clean)
        np.testing.assert_array_equal(got.rainy, wanted.rainy)


def test_two_folders_are_paired_by_name(two_folders, pairs):
    for got, wanted in zip(open_pairs(two_folders), pairs, strict=True):
        np.testing.assert_array_equal(got.clean, wanted.clean)
        np.testing.assert_array_equal(got.rainy, wanted.rainy)


def test_rainy_picture_without_a_clean_one(two_folders):
    (two_folders / "clean" / "2.png").unlink()
    with pytest.raises(MediaError, match=r"2\.png has no picture of its name"):
        list(open_pairs(two_folders))


def test_pair_of_two_sizes(two_folders):
    write_picture(two_folders / "clean" / "2.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"2\.png is 48x40, its clean picture 8x8"):
        list(open_pairs(two_folders))


@pytest.mark.parametrize("make", [True, False], ids=["empty", "missing"])
def test_folder_without_pictures(tmp_path, make):
    folder = tmp_path / "none"
    if make:
        folder.mkdir()
    with pytest.raises(MediaError, match="none"):
        picture_paths(folder)


@pytest.mark.parametrize(
    ("most", "names"),
    [(None, "01234"), (9, "01234"), (4, "0123"), (3, "013"), (2, "02"), (1, "0")],
)
@pytest.mark.parametrize("kind", ["files", "folders"])
def test_some_pairs_are_spread_evenly_over_the_folder(tmp_path, kind, most, names):
    picture = np.zeros((8, 8, 3), np.uint8)
    places = (
        [tmp_path] if kind == "files" else [tmp_path / x for x in ("rain", "clean")]
    )
    for place in places:
        place.mkdir(exist_ok=True)
        for k in range(5):
            write_picture(place / f"{k}.png", picture)
    assert [pair.name for pair in open_pairs(tmp_path, most)] == list(names)


def test_a_picture_one_pixel_wide_is_no_pair(tmp_path):
    write_picture(tmp_path / "a.png", np.zeros((8, 1, 3), np.uint8))
    with pytest.raises(MediaError, match="not a clean and a rainy half"):
        list(open_pairs(tmp_path))
