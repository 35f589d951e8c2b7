"""Grouped convolutions made dense."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derain.export.passes.dense_groups import (
    dense_weight,
    make_grouped_convolutions_dense,
)
from support.graphs import Wrapped, check, graph_of, picture


def test_dense_weight_gives_the_grouped_result():
    x = torch.rand(1, 12, 5, 5)
    weight = torch.rand(8, 4, 3, 3)
    dense = torch.from_numpy(dense_weight(weight.numpy(), 1))
    assert torch.equal(dense, weight)
    grouped = torch.rand(6, 4, 3, 3)
    wide = torch.from_numpy(dense_weight(grouped.numpy(), 3))
    assert wide.shape == (6, 12, 3, 3)
    assert torch.allclose(F.conv2d(x, wide), F.conv2d(x, grouped, groups=3), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups", "changed"),
    [
        pytest.param(16, 2, 1, id="narrow groups"),
        pytest.param(32, 2, 0, id="groups of a block"),
        pytest.param(16, 16, 0, id="depth-wise"),
        pytest.param(16, 8, 0, id="too many groups"),
    ],
)
def test_grouped_convolutions_are_made_dense(channels, groups, changed):
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
    model = graph_of(Wrapped(conv, channels))
    assert check(model, make_grouped_convolutions_dense, picture()) == changed
