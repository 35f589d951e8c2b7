"""One thread for networks."""

import pytest

torch = pytest.importorskip("torch", reason="the networks need derain[export]")


@pytest.fixture(autouse=True)
def _threads():
    """One thread: tiny pictures are slower on many; put the number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
