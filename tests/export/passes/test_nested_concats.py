"""Concatenations that share parts: nested, with the same result."""

import numpy as np
import torch
from torch import nn

from derain.export.passes.nested_concats import nest_concats
from support.graphs import Wrapped, graph_of, picture, run, types


class Dense(nn.Module):
    """A dense block whose newest part comes last, or first."""

    def __init__(self, newest_first: bool) -> None:
        super().__init__()
        self.newest_first = newest_first
        self.layers = nn.ModuleList(
            nn.Conv2d(8 * k, 8, 3, padding=1) for k in (1, 2, 3)
        )
        self.fuse = nn.Conv2d(32, 8, 1)

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            new = torch.relu(layer(torch.cat(parts, 1)))
            parts = [new, *parts] if self.newest_first else [*parts, new]
        return self.fuse(torch.cat(parts, 1))


def concats(model):
    return [node for node in model.graph if node.op_type == "Concat"]


def test_a_dense_block_becomes_a_chain():
    for newest_first in (False, True):
        model = graph_of(Wrapped(Dense(newest_first), 8))
        before = run(model, picture())
        assert [len(node.inputs) for node in concats(model)] == [2, 3, 4]
        assert nest_concats(model) == 2
        assert [len(node.inputs) for node in concats(model)] == [2, 2, 2]
        assert np.array_equal(run(model, picture()), before)


def test_parts_in_the_middle_are_left_alone():
    class Middle(nn.Module):
        def forward(self, x):
            a, b = torch.tanh(x), torch.sigmoid(x)
            inner = torch.cat([a, b], 1)
            return torch.cat([x, a, b, x], 1) + torch.cat([inner, inner], 1)

    model = graph_of(Wrapped(Middle(), 8, 32))
    before = types(model)
    assert nest_concats(model) == 0
    assert types(model) == before
