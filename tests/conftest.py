"""The data beside the checkout, which is not the project's to distribute."""

import os
from pathlib import Path

import pytest

# Read when torch is imported. Tiny pictures are slower on many threads, and far slower
# where other programs want the cores: 103 s instead of 2 s for two frames of dcsfn.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_folder():
    """The folder with ``data`` and ``checkpoints``; skips where it is not."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DERAIN_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; DERAIN_SHARED can name another")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared_folder):
    """The data sets; skips where they are not."""
    if not (shared_folder / "data").is_dir():
        pytest.skip(f"{shared_folder} has no data sets")
    return shared_folder / "data"
