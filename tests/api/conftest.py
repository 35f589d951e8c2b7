"""A network that is small, and frames for it."""

import numpy as np
import pytest

SIZE = (48, 32)


@pytest.fixture(scope="session")
def rainy():
    random = np.random.default_rng(0)
    shape = (6, SIZE[1], SIZE[0], 3)
    return list(random.integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture(scope="session")
def net():
    torch = pytest.importorskip("torch", reason="exporting needs derain[export]")
    torch.manual_seed(0)

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.tail = torch.nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x):
            return x - 0.1 * self.tail(torch.relu(self.head(x)))

    return Small()
