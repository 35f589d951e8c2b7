"""ReLUs of what is never negative."""

import numpy as np
import pytest
import torch
from torch import nn

from derain.export.passes.redundant_relus import remove_redundant_relus
from support.graphs import Wrapped, graph_of, picture, run, types


class Sum(nn.Module):
    def __init__(self, combine) -> None:
        super().__init__()
        self.branch = nn.Conv2d(8, 8, 1)
        self.combine = combine

    def forward(self, x):  # never negative: Wrapped has a ReLU in front
        return self.combine(x, self.branch(x))


@pytest.mark.parametrize(
    ("combine", "removed"),
    [
        pytest.param(lambda x, y: torch.relu(x + torch.relu(y)), 1, id="sum"),
        pytest.param(lambda x, y: torch.relu(torch.sigmoid(y) * x), 1, id="product"),
        pytest.param(lambda x, y: torch.relu(torch.max(x, y)), 1, id="maximum"),
        pytest.param(lambda x, y: torch.relu(x * 0.5 + 0.1), 1, id="constants"),
        pytest.param(lambda x, y: torch.relu(x + y), 0, id="may be negative"),
        pytest.param(lambda x, y: torch.relu(x - torch.relu(y)), 0, id="difference"),
        pytest.param(lambda x, y: torch.relu(x * -0.5), 0, id="negative constant"),
    ],
)
def test_they_are_removed(combine, removed):
    model = graph_of(Wrapped(Sum(combine), 8))
    before, count = run(model, picture()), types(model).count("Relu")
    assert remove_redundant_relus(model) == removed
    assert types(model).count("Relu") == count - removed
    assert np.array_equal(run(model, picture()), before)
