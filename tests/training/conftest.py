"""Small pictures to train and measure on, and the shared data where it is."""

import contextlib
import resource

import pytest

pytest.importorskip("torch", reason="training needs derain[train]")


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
