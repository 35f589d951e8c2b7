"""Small pictures to train and measure on, and the shared data where it is."""

import contextlib
import resource

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs derain[train]")

from derain.core.pictures import write_picture
from derain.training.config import config_for, with_changes
from derain.training.data import Pair
from derain.training.run import train


def _pair(index, height=40, width=48):
    random = np.random.default_rng(index)
    clean = random.integers(0, 200, (height, width, 3), np.uint8)
    clean = clean // 2 + np.arange(width, dtype=np.uint8)[:, None]
    streaks = random.random((height, width, 1)) < 0.1
    return Pair(f"{index}", np.where(streaks, np.uint8(255), clean), clean)


@pytest.fixture
def pairs():
    return [_pair(index) for index in range(4)]


@pytest.fixture
def pairs_folder(tmp_path, pairs):
    """Side-by-side files: left half clean, right half rainy."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for pair in pairs:
        both = np.hstack([pair.clean, pair.rainy])
        write_picture(folder / f"{pair.name}.png", both)
    return folder


@pytest.fixture
def two_folders(tmp_path, pairs):
    """A folder with the folders ``rain`` and ``clean``."""
    for kind in ("rain", "clean"):
        (tmp_path / "video" / kind).mkdir(parents=True)
    for pair in pairs:
        write_picture(tmp_path / "video" / "rain" / f"{pair.name}.png", pair.rainy)
        write_picture(tmp_path / "video" / "clean" / f"{pair.name}.png", pair.clean)
    return tmp_path / "video"


@pytest.fixture
def full_disk():
    """A context in which no file can grow beyond some bytes, as on a full disk."""

    @contextlib.contextmanager
    def of(most_bytes):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return of


@pytest.fixture
def finished_run(tmp_path, pairs_folder):
    """A run of two steps, in its folder."""
    config = with_changes(config_for("qsnet"), steps=2, crop=16, batch=2)
    train(config, [pairs_folder], None, tmp_path / "run", lambda line: None)
    return tmp_path / "run"
