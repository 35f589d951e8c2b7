"""Channel shuffles folded."""

import numpy as np
import pytest
import torch
from torch import nn

from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.channel_permutations import fold_channel_permutations
from derain.models.networks.qsnet import ShuffleUnit, channel_shuffle
from support.graphs import Wrapped, check, graph_of, lively, picture, run, types


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x):
        return channel_shuffle(x, self.groups)


@pytest.mark.parametrize(
    ("middle", "channels"),
    [
        pytest.param([Shuffle(2), nn.Conv2d(8, 8, 3, padding=1)], 8, id="dense"),
        pytest.param(
            [Shuffle(4), nn.Conv2d(8, 8, 3, padding=1, groups=2)], 8, id="grouped"
        ),
        pytest.param(
            [Shuffle(2), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()],
            8,
            id="depth-wise",
        ),
        pytest.param([Shuffle(2), Shuffle(3), nn.Tanh()], 12, id="two"),
        pytest.param([Shuffle(3), nn.LeakyReLU(0.1), nn.MaxPool2d(1)], 9, id="pool"),
    ],
)
def test_shuffles_are_folded(middle, channels):
    network = Wrapped(nn.Sequential(*middle), channels)
    for sizes in ("24x18", "8x8,24x18,32x32"):
        model = graph_of(network, sizes)
        assert check(model, fold_channel_permutations, picture()) >= 1
        assert not {"Transpose", "Gather"} & set(types(model))


class Residual(nn.Module):
    """Two operands of which one is shuffled, and a concatenation of both."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.branch = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        shuffled = channel_shuffle(x, 2)
        if self.kind == "own branch":
            return shuffled + torch.relu(self.branch(x))
        if self.kind == "shared":
            return shuffled + x
        if self.kind == "concat":
            return torch.cat([x, shuffled, self.branch(shuffled)], 1)
        return shuffled * torch.arange(8.0).view(1, 8, 1, 1) + 1


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [("own branch", 8), ("shared", 8), ("concat", 24), ("per channel", 8)],
)
def test_shuffles_in_front_of_several_operands_are_right(kind, outputs):
    model = graph_of(Wrapped(Residual(kind), 8, outputs))
    check(model, fold_channel_permutations, picture())
    left = types(model).count("Gather")
    assert left == {"own branch": 0, "shared": 1, "concat": 0, "per channel": 1}[kind]


def test_a_permutation_of_the_result_is_put_back():
    class Flipped(nn.Module):
        def forward(self, x):
            return torch.relu(x.flip(1) - 0.5)[:, [2, 0, 1]]

    image = picture()
    model = graph_of(Flipped())
    check(model, fold_channel_permutations, image)
    assert np.allclose(run(model, image), Flipped()(image).numpy())


@pytest.mark.parametrize("unit", [ShuffleUnit(32, 2), ShuffleUnit(32, 4)])
def test_a_shuffle_unit_has_no_permutation_left(unit):
    model = graph_of(lively(Wrapped(unit, 32)))
    fold_batch_norms(model)
    check(model, fold_channel_permutations, picture())
    assert not {"Transpose", "Gather", "Reshape"} & set(types(model))
