import cv2
import numpy as np
import pytest

from derain.core.errors import ConfigError, MediaError
from derain.core.pairs import open_pairs
from derain.core.pictures import picture_paths, read_picture, write_picture
from derain.core.synthetic.rain import PRESETS, render_rain
from derain.training.leakage import SAME, Scenes, thumbnail
from derain.training.options import TrainingOptions
from derain.training.pack import pack, packed_pairs, packed_photographs
from derain.training.run import split, train
from derain.training.run_folder import read_config


def _scene(seed, height=160, width=240):
    """Large soft shapes, as photographs have; another seed is another place."""
    random = np.random.default_rng(seed)
    coarse = random.integers(20, 220, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _darker(picture):
    return (picture * 0.7 + 10).astype(np.uint8)


def _smaller(picture):
    return cv2.resize(picture, (90, 60), interpolation=cv2.INTER_AREA)


def _in_rain(picture):
    return render_rain(picture, PRESETS["moderate"].scaled(1 / 3), seed=1)


def _as_jpeg(picture):
    return cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1],
        cv2.IMREAD_COLOR,
    )


@pytest.fixture
def measured(tmp_path):
    """Scenes 0 to 2, as pairs side by side, clean at the left."""
    folder = tmp_path / "data" / "test"
    folder.mkdir(parents=True)
    for seed in range(3):
        clean = _scene(seed)
        write_picture(folder / f"{seed}.png", np.hstack([clean, _in_rain(clean)]))
    return folder


@pytest.fixture
def photographs(tmp_path):
    """Scenes 1 to 4, darker."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(1, 5):
        write_picture(folder / f"photograph {seed}.png", _darker(_scene(seed)))
    return folder


@pytest.fixture
def more_pairs(tmp_path):
    """Scenes 2, 5 and 6, as the folders ``rain`` and ``clean``."""
    folder = tmp_path / "pairs"
    for seed in (2, 5, 6):
        for kind, picture in (
            ("clean", _scene(seed)),
            ("rain", _in_rain(_scene(seed))),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_picture(folder / kind / f"{seed}.png", picture)
    return folder


@pytest.mark.parametrize("change", [_darker, _smaller, _in_rain, _as_jpeg])
def test_scene_is_recognised_however_it_looks(measured, change):
    scenes = Scenes([measured])
    assert [scenes.hold(change(_scene(seed))) for seed in range(5)] == [
        *[True] * 3,
        *[False] * 2,
    ]


def test_folder_of_pictures_and_of_two_folders(photographs, more_pairs):
    scenes = Scenes([photographs, more_pairs])
    assert [seed for seed in range(9) if scenes.hold(_scene(seed))] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


def test_no_folders_hold_no_scene():
    assert not Scenes([]).hold(_scene(0))


def test_picture_of_one_grey_is_no_scene(tmp_path):
    grey = np.full((20, 30, 3), 80, np.uint8)
    write_picture(tmp_path / "grey.png", grey)
    assert not Scenes([tmp_path]).hold(grey)


def test_folder_that_is_missing(tmp_path):
    with pytest.raises(MediaError, match="nowhere cannot be read"):
        Scenes([tmp_path / "nowhere"])


def _train(tmp_path, pairs, clean, not_in):
    train(
        TrainingOptions(
            model="qsnet",
            pairs=() if pairs is None else (pairs,),
            clean=clean,
            not_in=tuple(not_in),
            steps=1,
            crop=16,
            batch=1,
            output=tmp_path / "run",
        )
    )


def test_training_leaves_out_what_is_measured_on_and_says_so(
    tmp_path, measured, photographs, more_pairs, said
):
    _train(tmp_path, more_pairs, photographs, [measured])
    lines = said()
    assert lines[0] == (f"left out 2 of 4 photographs that show a scene in {measured}")
    assert lines[1] == f"left out 1 of 3 pairs that show a scene in {measured}"
    assert lines[2] == "2 pairs to train on, 0 to validate, 2 photographs"
    assert read_config(tmp_path / "run").not_in == ("data/test",)


def test_left_out_pairs_move_no_other_to_the_validation(tmp_path, monkeypatch):
    from derain.training import run

    monkeypatch.setattr(run, "VALIDATION_EVERY", 4)  # number 2, 6, ...
    for seed in range(8):
        write_picture(tmp_path / f"{seed}.png", np.hstack([_scene(seed)] * 2))
    unwanted = tmp_path / "unwanted"
    unwanted.mkdir()
    for seed in (0, 6):
        write_picture(unwanted / f"{seed}.png", _scene(seed))
    training, validation, left_out = split(tmp_path, Scenes([unwanted]))
    assert [pair.name for pair in training] == ["1", "3", "4", "5", "7"]
    assert [pair.name for pair in validation] == ["2"]
    assert left_out == ["0", "6"]


def test_scenes_are_left_out_of_a_pack_when_it_is_made(
    tmp_path, measured, photographs, more_pairs
):
    path = tmp_path / "pack.zip"
    pack(
        path,
        pairs=more_pairs,
        clean=photographs,
        not_in=[measured],
        side=256,
        quality=92,
        megabytes=1.0,
    )
    assert [pair.name for pair in packed_pairs(path)] == ["5", "6"]
    assert len(list(packed_photographs(path))) == 2
    with pytest.raises(ConfigError, match="give --not-in to derain"):
        _train(tmp_path, path, None, [measured])
    with pytest.raises(ConfigError, match=r"pack\.zip holds only the middles"):
        _train(tmp_path, None, path, [measured])


@pytest.mark.slow
def test_threshold_stands_in_a_gap(shared_data):
    clean = [read_picture(p) for p in picture_paths(shared_data / "clean")]
    known = np.array([thumbnail(picture) for picture in clean])
    best = np.array(
        [
            (known @ thumbnail(pair.clean)).max()
            for pair in open_pairs(shared_data / "pairs" / "test")
        ]
    )
    assert (best > SAME).sum() == 47
    assert best[best > SAME].min() > 0.999
    assert best[best <= SAME].max() < 0.9
