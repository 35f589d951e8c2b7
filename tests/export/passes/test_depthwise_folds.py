"""Depth-wise convolutions folded into 1x1 convolutions."""

import pytest
import torch
from torch import nn

from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.channel_permutations import fold_channel_permutations
from derain.export.passes.depthwise_folds import fold_depthwise
from derain.models.networks.qsnet import ShuffleUnit
from support.graphs import Wrapped, check, graph_of, lively, picture, types


@pytest.mark.parametrize(
    ("channels", "outputs", "groups", "folded"),
    [
        pytest.param(16, 32, 1, 1, id="dense"),
        pytest.param(16, 32, 2, 1, id="grouped"),
        pytest.param(64, 64, 1, 0, id="arithmetic wins"),
    ],
)
def test_they_are_folded_where_bytes_win(channels, outputs, groups, folded):
    middle = nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        nn.Conv2d(channels, outputs, 1, groups=groups),
    )
    model = graph_of(Wrapped(middle, channels, outputs))
    assert check(model, fold_depthwise, picture()) == folded
    assert types(model).count("Conv") == 4 - folded


def test_an_activation_between_them_stays():
    middle = nn.Sequential(
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1)
    )
    assert fold_depthwise(graph_of(Wrapped(middle, 16))) == 0


def test_a_depthwise_convolution_with_another_reader_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.second = nn.Conv2d(16, 16, 1)

        def forward(self, x):
            y = self.first(x)
            return self.second(y) + torch.tanh(y)

    assert fold_depthwise(graph_of(Wrapped(Shared(), 16))) == 0


def test_a_shuffle_unit_is_two_convolutions():
    model = graph_of(lively(Wrapped(ShuffleUnit(32, 2), 32)))
    fold_batch_norms(model)
    fold_channel_permutations(model)
    assert check(model, fold_depthwise, picture()) == 1
    assert types(model).count("Conv") == 4
