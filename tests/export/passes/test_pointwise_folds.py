"""1x1 convolutions folded into the convolutions in front of them."""

import pytest
import torch
from torch import nn

from derain.export.passes.pointwise_folds import fold_pointwise
from support.graphs import Wrapped, check, graph_of, picture, types


class Fused(nn.Module):
    """Convolutions of one input at some dilations, fused by a 1x1 convolution."""

    def __init__(self, dilations, channels=8, activation=None, biased=True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=d, dilation=d, bias=biased)
            for d in dilations
        )
        self.fuse = nn.Conv2d(channels * len(dilations), channels, 1, bias=biased)
        self.activation = activation or nn.Identity()

    def forward(self, x):
        parts = [self.activation(layer(x)) for layer in self.layers]
        return torch.relu(self.fuse(torch.cat(parts, 1)))


@pytest.mark.parametrize(
    ("dilations", "left"),
    [
        pytest.param((1, 2), [(5, 1)], id="one window of 5x5"),
        pytest.param((2, 4), [(5, 2)], id="one dilated window"),
        pytest.param((3, 4), [(3, 3), (3, 4)], id="too far apart"),
        pytest.param((3,), [(3, 3)], id="one alone"),
        pytest.param((2, 2), [(3, 2)], id="the same taps"),
    ],
)
@pytest.mark.parametrize("biased", [False, True])
def test_they_are_folded(dilations, left, biased):
    model = graph_of(Wrapped(Fused(dilations, biased=biased), 8))
    assert check(model, fold_pointwise, picture()) == 1
    inner = [
        (node.inputs[1].shape[2], node.attributes["dilations"].as_ints()[0])
        for node in model.graph
        if node.op_type == "Conv"
    ][1:-1]
    assert sorted(inner) == left
    assert types(model).count("Add") == len(left) - 1


def test_behind_an_activation_nothing_is_folded():
    model = graph_of(Wrapped(Fused((1, 2), activation=nn.ReLU()), 8))
    assert fold_pointwise(model) == 0


def test_a_narrow_map_between_wide_ones_stays():
    class Bottleneck(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Conv2d(32, 2, 3, padding=1)
            self.left = nn.Conv2d(16, 2, 3, padding=1)
            self.up = nn.Conv2d(4, 32, 1)

        def forward(self, x):
            parts = [self.down(x), self.left(x[:, :16])]
            return self.up(torch.cat(parts, 1))

    assert fold_pointwise(graph_of(Wrapped(Bottleneck(), 32))) == 0
