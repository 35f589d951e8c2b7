"""Convolutions of concatenations split."""

import torch
from torch import nn

from derain.export.passes.split_concats import split_convolutions_of_concats
from support.graphs import Wrapped, check, graph_of, picture, types


class Concatenated(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(16, 3, 1)
        self.fuse = nn.Conv2d(16 + 3 + 3 + 16, 16, 3, padding=1)
        self.activation = activation

    def forward(self, x):
        narrow = self.narrow(x)
        parts = [x, narrow, -narrow, torch.tanh(x)]
        return self.activation(self.fuse(torch.cat(parts, 1)))


def test_convolutions_of_concats_are_split():
    model = graph_of(Wrapped(Concatenated(nn.ReLU()), 16))
    assert check(model, split_convolutions_of_concats, picture()) == 1
    assert types(model).count("Concat") == 1  # of the two narrow parts
    assert types(model).count("Conv") == 6


def test_convolutions_whose_activation_would_not_fuse_are_not_split():
    model = graph_of(Wrapped(Concatenated(nn.LeakyReLU(0.2)), 16))
    assert check(model, split_convolutions_of_concats, picture()) == 0


class Followed(Concatenated):
    """The exporter calls the next convolution as it calls this one, with a number."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU())
        self.narrow = nn.Identity()
        self.last = nn.Conv2d(16, 16, 3, padding=1)
        self.fuse = nn.Conv2d(4 * 16, 16, 3, padding=1)

    def forward(self, x):
        return self.last(super().forward(x))


def test_no_two_nodes_or_values_have_one_name():
    """ONNX Runtime refuses such a graph."""
    model = graph_of(Wrapped(Followed(), 16))
    assert check(model, split_convolutions_of_concats, picture()) == 1
    nodes = [node.name for node in model.graph]
    values = [value.name for node in model.graph for value in node.outputs]
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)
