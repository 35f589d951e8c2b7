"""BatchNorms folded."""

import pytest
import torch
from torch import nn

from derain.export.passes import optimize
from derain.export.passes.batch_norms import fold_batch_norms
from support.graphs import Wrapped, check, graph_of, lively, picture, types


def test_batch_norms_are_folded():
    network = lively(
        Wrapped(
            nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 1, groups=2),
                nn.BatchNorm2d(8),
            ),
            8,
        )
    )
    model = graph_of(network)
    assert check(model, fold_batch_norms, picture()) == 2
    assert "BatchNormalization" not in types(model)


def test_a_batch_norm_with_another_reader_in_front_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    model = graph_of(lively(Shared()))
    assert check(model, fold_batch_norms, picture()) == 0
    assert "BatchNormalization" in types(model)


class ThreeDimensions(nn.Module):
    """A clip of three from one picture, through convolutions over time."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 6, (3, 3, 3), padding=(0, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(6)
        self.point = nn.Conv3d(6, 3, 1)

    def forward(self, x):
        clip = torch.stack([x, 0.5 * x, 1 - x], 2)
        return x - self.point(torch.relu(self.norm(self.conv(clip))))[:, :, 0]


def _lively_in_time():
    network = lively(ThreeDimensions())
    generator = torch.Generator().manual_seed(6)
    network.norm.running_var.uniform_(0.5, 2.0, generator=generator)
    network.norm.weight.data.uniform_(0.5, 1.5, generator=generator)
    return network


def test_a_batch_norm_behind_a_convolution_over_time_is_folded():
    model = graph_of(_lively_in_time())
    assert types(model).count("Conv") == 2
    assert check(model, fold_batch_norms, picture()) == 1
    assert "BatchNormalization" not in types(model)


@pytest.mark.parametrize("target", ["any", "tensorrt"])
def test_every_pass_takes_convolutions_over_time(target):
    model = graph_of(_lively_in_time())
    check(model, lambda model: optimize(model, target), picture())
