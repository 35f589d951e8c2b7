"""Small pictures to train and measure on, and the shared data where it is."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs derain[train]")

import torch

from derain.models.training.data import Pair
from derain.runtime.pictures import write_picture


@pytest.fixture(scope="session")
def shared_data():
    """The data sets beside the checkout; skips where they are not."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return folder


@pytest.fixture(autouse=True)
def _threads():
    """One thread: tiny pictures are slower on many; put the number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
