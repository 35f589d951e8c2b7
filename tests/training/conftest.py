"""Small pictures to train and measure on, and the shared data where it is."""

import contextlib
import resource

import pytest

pytest.importorskip("torch", reason="training needs derain[train]")

from derain.training.config import config_for, with_changes
from derain.training.run import train


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
