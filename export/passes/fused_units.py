"""QSNet's ShuffleNet units as nodes of their own, which one CUDA kernel can compute.

``y = relu(expand(depthwise(shuffle(relu(squeeze(x))))) + x)``

of exactly the widths that `derain.runtime.cuda.shuffle_unit` was written for. Run
between `fold_batch_norms`, after which nothing stands between the convolutions, and
`fold_channel_permutations`, after which the units have other weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from derain.core.errors import ShapeError
from derain.export.operators import DOMAIN
from derain.export.passes.channel_permutations import permutation_of, shuffle_to_gather
from derain.export.passes.graph_edits import (
    add_initializer,
    bias_of,
    has_constant_weights,
    ints,
    is_pointwise,
    is_standard,
    like,
    only_use,
    weight_of,
)
from derain.runtime.cuda.shuffle_unit import pack_parameters, shuffle_order


def fuse_shuffle_units(model: ir.Model) -> int:
    """Replace each unit by one abstract ``ShuffleUnit`` node, in place.

    Its inputs are x and weight and bias of the three convolutions.

    Returns:
        The number of units.
    """
    graph = model.graph
    for node in list(graph):
        shuffle_to_gather(node, graph)
    ends = [node for node in graph if is_standard(node, "Relu")]
    return sum(_fuse(graph, end) for end in ends)


def _fuse(graph: ir.Graph, end: ir.Node) -> bool:
    found = _unit_before(end)
    if found is None:
        return False
    x, nodes = found
    convolutions = [node for node in nodes if is_standard(node, "Conv")]
    inputs: list[ir.Value | None] = [x]
    for conv in convolutions:
        weight, bias = weight_of(conv), bias_of(conv)
        assert weight is not None
        if bias is None:
            bias = np.zeros(len(weight), weight.dtype)
        inputs += [conv.inputs[1], add_initializer(graph, f"{conv.name}_bias", bias)]
    unit = ir.Node(DOMAIN, "ShuffleUnit", inputs, name=end.name)
    result = like(unit.outputs[0], end.outputs[0], str(end.outputs[0].name))
    ir.convenience.replace_nodes_and_values(
        graph, end, [end, *reversed(nodes)], [unit], [end.outputs[0]], [result]
    )
    return True


def _unit_before(end: ir.Node) -> tuple[ir.Value, list[ir.Node]] | None:
    """The input and the nodes, in order, of the unit whose last node is `end`."""
    total = _producer(end.inputs[0])
    if total is None or not is_standard(total, "Add"):
        return None
    for branch, x in (tuple(total.inputs), tuple(reversed(total.inputs))):
        nodes = [total]
        value = branch
        for _ in range(5):
            node = _producer(value)
            if node is None:
                break
            nodes.append(node)
            value = node.inputs[0]
        if len(nodes) == 6 and value is x and x is not None:
            nodes.reverse()
            if _is_unit(nodes):
                return x, nodes
    return None


def _producer(value: ir.Value | None) -> ir.Node | None:
    """What makes `value`, if that has one reader."""
    if value is None or only_use(value) is None:
        return None
    return value.producer()


def _is_unit(nodes: list[ir.Node]) -> bool:
    squeeze, relu, shuffle, depthwise, expand, _ = nodes
    convolutions = (squeeze, depthwise, expand)
    order = permutation_of(shuffle)
    if order is None or not np.array_equal(order, shuffle_order()):
        return False
    if not (
        is_standard(relu, "Relu")
        and all(map(has_constant_weights, convolutions))
        and is_pointwise(squeeze)
        and is_pointwise(expand)
        and ints(depthwise, "pads", ()) == (1, 1, 1, 1)
        and set(ints(depthwise, "strides", (1,))) == {1}
        and set(ints(depthwise, "dilations", (1,))) == {1}
    ):
        return False
    weights = [w for conv in convolutions if (w := weight_of(conv)) is not None]
    biases = [
        np.zeros(len(weight), np.float32) if (b := bias_of(conv)) is None else b
        for conv, weight in zip(convolutions, weights, strict=True)
    ]
    try:
        pack_parameters(weights, biases)
    except ShapeError:  # of other widths
        return False
    return True
