"""Convolutions split whose concatenations want maps that lie elsewhere."""

import pytest
import torch
from torch import nn

from derain.export.passes.conflicting_concats import split_conflicting_concats
from support.graphs import Wrapped, check, graph_of, picture, types


class TwoPlaces(nn.Module):
    """`x` begins one concatenation of two maps, and another one of three."""

    def __init__(self, outputs: int, conflict: bool) -> None:
        super().__init__()
        self.conflict = conflict
        self.inner = nn.Conv2d(32, 16, 3, padding=1)
        self.outer = nn.Conv2d(48, outputs, 3, padding=1)

    def forward(self, x):
        a = torch.tanh(x)
        first = torch.cat([x, a], 1)
        b = torch.relu(self.inner(first))
        parts = [x, b, torch.sigmoid(b)] if self.conflict else [x, a, b]
        return self.outer(torch.cat(parts, 1))


@pytest.mark.parametrize(
    ("outputs", "conflict", "splits"),
    [
        pytest.param(4, True, 1, id="few outputs"),
        pytest.param(32, True, 0, id="more outputs than are copied"),
        pytest.param(4, False, 0, id="one continues the other"),
    ],
)
def test_only_what_saves_bytes_is_split(outputs, conflict, splits):
    model = graph_of(Wrapped(TwoPlaces(outputs, conflict), 16, outputs))
    assert check(model, split_conflicting_concats, picture()) == splits
    assert types(model).count("Concat") == 2 - splits


@pytest.mark.parametrize(("width", "splits"), [(20, 1), (24, 0)])
def test_parts_that_are_no_multiple_of_eight_are_copied_too(width, splits):
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.fuse = nn.Conv2d(2 * width, width, 1)

        def forward(self, x):
            return self.fuse(torch.cat([x, torch.tanh(x)], 1))

    model = graph_of(Wrapped(Joined(), width))
    assert check(model, split_conflicting_concats, picture()) == splits
