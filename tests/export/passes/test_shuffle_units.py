"""ShuffleNet units made nodes of their own."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from derain.export.fp16 import emulate_fp16
from derain.export.map_sizes import MapSizes
from derain.export.operators.lowering import lower_operators
from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.channel_permutations import (
    fold_channel_permutations,
    shuffle_to_gather,
)
from derain.export.passes.cleanup import remove_dead
from derain.export.passes.fused_units import fuse_shuffle_units
from derain.models.networks.qsnet import ShuffleUnit, channel_shuffle
from support.graphs import ATOL, Wrapped, graph_of, lively, picture, run, types


class Twice(nn.Module):
    """A unit whose middle is used once more."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = ShuffleUnit(32, 2)

    def forward(self, x):
        y = channel_shuffle(torch.relu(self.unit.squeeze(x)), 2)
        middle = self.unit.depthwise(y)
        return torch.relu(self.unit.expand(middle) + x) + middle.mean()


class OtherResidual(Twice):
    def forward(self, x):
        y = channel_shuffle(torch.relu(self.unit.squeeze(x)), 2)
        return torch.relu(self.unit.expand(self.unit.depthwise(y)) + 2 * x)


class OtherShuffle(Twice):
    def forward(self, x):
        y = channel_shuffle(torch.relu(self.unit.squeeze(x)), 4)
        return torch.relu(self.unit.expand(self.unit.depthwise(y)) + x)


def folded(network, sizes="24x18"):
    model = graph_of(lively(network), sizes)
    fold_batch_norms(model)
    return model


def lowered(model, rounded=False):
    model = model.clone()
    lower_operators(model, "any", MapSizes({}), lambda name: rounded)
    return model


@pytest.mark.parametrize("sizes", ["24x18", "8x8,24x18,32x32"])
@pytest.mark.parametrize("gathers", [False, True], ids=["reshapes", "gathers"])
def test_each_unit_becomes_a_node_that_computes_the_same(sizes, gathers):
    units = nn.Sequential(*(ShuffleUnit(32, 2) for _ in range(2)))
    model = folded(Wrapped(units, 32), sizes)
    wanted = run(model, picture())
    if gathers:
        for node in list(model.graph):
            shuffle_to_gather(node, model.graph)
    assert fuse_shuffle_units(model) == 2
    assert types(model).count("ShuffleUnit") == 2
    assert fold_channel_permutations(model) == 0
    remove_dead(model)
    assert not {"Reshape", "Transpose", "Gather"} & set(types(model))
    assert types(model).count("Conv") == 2  # the first and the last
    assert np.abs(run(lowered(model), picture()) - wanted).max() < ATOL


@pytest.mark.parametrize(
    "middle",
    [
        pytest.param(ShuffleUnit(16, 2), id="narrower"),
        pytest.param(ShuffleUnit(32, 4), id="more groups"),
        pytest.param(Twice(), id="another reader"),
        pytest.param(OtherResidual(), id="another residual"),
        pytest.param(OtherShuffle(), id="another shuffle"),
    ],
)
def test_what_the_kernel_does_not_compute_is_left_alone(middle):
    width = getattr(middle, "unit", middle).squeeze[0].in_channels
    model = folded(Wrapped(middle, width))
    wanted = run(model, picture())
    assert fuse_shuffle_units(model) == 0
    assert "ShuffleUnit" not in types(model)
    assert np.abs(run(model, picture()) - wanted).max() < ATOL


def test_every_call_has_names_of_its_own():
    units = nn.Sequential(*(ShuffleUnit(32, 2) for _ in range(2)))
    model = folded(Wrapped(units, 32))
    fuse_shuffle_units(model)
    model = lowered(model)
    names = [node.name for body in model.functions.values() for node in body]
    names += [node.name for node in model.graph]
    assert len(model.functions) == 2
    assert len(names) == len(set(names))


def test_fp16_is_emulated_inside():
    model = folded(Wrapped(ShuffleUnit(32, 2), 32))
    fuse_shuffle_units(model)
    full = run(lowered(model), picture())
    emulate_fp16(model, set())
    outside, inside = (run(lowered(model, rounded=r), picture()) for r in (False, True))
    assert 0 < np.abs(outside - full).max() < 0.01
    assert 0 < np.abs(inside - outside).max() < 0.01
    (function,) = lowered(model, rounded=True).functions.values()
    halves = [n for n in function if n.op_type == "Cast"]
    assert len([n for n in halves if n.outputs[0].uses()]) == 6
    assert ir.DataType.FLOAT16 in {n.attributes["to"].as_int() for n in halves}
