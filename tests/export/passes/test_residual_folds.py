"""Residual additions folded into the convolutions that read the residual."""

import pytest
import torch
from torch import nn

from derain.export.passes.nested_concats import nest_concats
from derain.export.passes.residual_folds import fold_residuals
from support.graphs import Wrapped, check, graph_of, picture, types


class Block(nn.Module):
    """`x` and what is made of it, fused, and a residual."""

    def __init__(self, kind: str, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(8, 8, 1)
        self.second = nn.Conv2d(16, 8, 1)
        pad = dilation * (kernel // 2)
        self.fuse = nn.Conv2d(24, 8, kernel, padding=pad, dilation=dilation)

    def forward(self, x):
        a = torch.relu(self.first(x))
        b = torch.relu(self.second(torch.cat([a, x], 1)))
        fused = self.fuse(torch.cat([b, a, x], 1))
        if self.kind == "of another map":
            return fused + torch.tanh(x)
        if self.kind == "read twice":
            return fused + x + fused.mean(1, keepdim=True)
        return x + fused


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2)])
def test_a_residual_is_read_once(nested, kernel, dilation):
    model = graph_of(Wrapped(Block("", kernel, dilation), 8))
    if nested:
        assert nest_concats(model) == 1
    assert check(model, fold_residuals, picture()) == 1
    assert "Add" not in types(model)


@pytest.mark.parametrize("kind", ["of another map", "read twice"])
def test_other_additions_stay(kind):
    model = graph_of(Wrapped(Block(kind), 8))
    assert check(model, fold_residuals, picture()) == 0


def test_a_convolution_whose_middle_is_another_pixel_stays():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3)

        def forward(self, x):
            return x + self.conv(nn.functional.pad(x, (0, 2, 0, 2)))

    assert fold_residuals(graph_of(Wrapped(Shifted(), 8))) == 0
