"""Grouped INT8 convolutions made dense: the same to the last bit."""

import pytest
from torch import nn

from derain.calibration.layers import find_layers
from derain.calibration.qdq import insert_qdq
from derain.export.passes.int8_groups import make_int8_groups_dense
from support.graphs import Wrapped, check, graph_of, picture


@pytest.mark.parametrize(
    ("groups", "quantised", "changed"), [(2, True, 1), (2, False, 0), (8, True, 0)]
)
def test_grouped_int8_convolutions_are_made_dense(groups, quantised, changed):
    conv = nn.Conv2d(16, 16, 3, padding=1, groups=groups)
    model = graph_of(Wrapped(conv, 16))
    if quantised:
        layers = find_layers(model)
        insert_qdq(model, {x.tensor: 2.0 for x in layers}, {x.name for x in layers})
    assert check(model, make_int8_groups_dense, picture()) == changed
    for node in model.graph:
        if node.op_type == "Conv" and changed:
            assert node.attributes.get_int("group", 1) == 1
