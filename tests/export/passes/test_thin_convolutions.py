"""Convolutions of few outputs widened."""

import pytest
from torch import nn

from derain.export.passes.thin_convolutions import widen_thin_convolutions
from support.graphs import Wrapped, check, graph_of, picture, types


@pytest.mark.parametrize(
    ("sizes", "height", "width"),
    [
        pytest.param("24x18", 18, 24, id="even"),
        pytest.param("23x17", 17, 23, id="odd"),
        pytest.param("8x8,24x18,32x32", 18, 24, id="dynamic"),
        pytest.param("8x8,24x18,32x32", 9, 31, id="dynamic odd"),
    ],
)
def test_thin_convolutions_are_widened(sizes, height, width):
    network = Wrapped(nn.Conv2d(16, 16, 1), 16)
    model = graph_of(network, sizes)
    assert check(model, widen_thin_convolutions, picture(height, width)) == 1
    assert "DepthToSpace" in types(model)
