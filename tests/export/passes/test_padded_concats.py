"""Concatenations padded to a multiple of eight channels."""

import pytest
import torch
from torch import nn

from derain.export.passes.padded_concats import pad_concats
from support.graphs import Wrapped, check, graph_of, picture


class Uneven(nn.Module):
    """Wide parts around some of three channels."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        self.narrow = nn.Conv2d(16, 3, 1)
        self.fuse = nn.Conv2d(38, 16, 3, padding=1)

    def forward(self, x):
        thin = self.narrow(x)
        maps = {"w": torch.tanh(x), "W": x, "n": thin, "N": -thin}
        return self.fuse(torch.cat([maps[key] for key in self.order], 1))


def widths(model):
    return [
        [value.shape[1] for value in node.inputs]
        for node in model.graph
        if node.op_type == "Concat"
    ]


@pytest.mark.parametrize(
    ("order", "sizes"), [("wWnN", "24x18"), ("wnNW", "8x8,24x18,32x32")]
)
def test_narrow_neighbours_become_one_part_of_eight(order, sizes):
    model = graph_of(Wrapped(Uneven(order), 16), sizes)
    assert check(model, pad_concats, picture()) == 1
    assert [3, 3, 2] in widths(model)
    assert sorted(widths(model)[-1]) == [8, 16, 16]


def test_narrow_parts_that_are_no_neighbours_stay():
    model = graph_of(Wrapped(Uneven("nwNW"), 16))
    assert pad_concats(model) == 0


def test_a_concatenation_that_something_else_reads_stays():
    class Read(Uneven):
        def forward(self, x):
            thin = self.narrow(x)
            joined = torch.cat([x, torch.tanh(x), thin, -thin], 1)
            return self.fuse(joined) + joined.mean(1, keepdim=True)

    assert pad_concats(graph_of(Wrapped(Read(""), 16))) == 0
