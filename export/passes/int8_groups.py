"""Grouped convolutions in INT8 made dense, for TensorRT, which splits them by group.

TensorRT makes one INT8 convolution of each group (NVIDIA on its issue 4529,
*read*). What a dense one multiplies by besides is zero, which INT8 has exactly, and the
scales of its output channels stay: the result is the same to the last bit.
"""

from __future__ import annotations

import onnx_ir as ir

from derain.export.passes.dense_groups import MAX_GROUPS, dense_weight
from derain.export.passes.graph_edits import add_initializer, groups


def make_int8_groups_dense(model: ir.Model) -> int:
    """Make grouped convolutions with weights in INT8 dense, in place.

    Those of more than `MAX_GROUPS` groups, depth-wise ones above all, stay: dense is as
    many times the arithmetic.

    Returns:
        The number of convolutions changed.
    """
    changed = 0
    for node in model.graph:
        if node.domain or node.op_type != "Conv":
            continue
        group = groups(node)
        up = None if node.inputs[1] is None else node.inputs[1].producer()
        if not 1 < group <= MAX_GROUPS or up is None:
            continue
        small = up.inputs[0]
        if up.op_type != "DequantizeLinear" or small is None:
            continue
        assert small.const_value is not None
        weight = dense_weight(small.const_value.numpy(), group)
        name = f"{small.name}_dense"
        up.replace_input_with(0, add_initializer(model.graph, name, weight))
        up.outputs[0].shape = ir.Shape(weight.shape)
        node.attributes["group"] = ir.AttrInt64("group", 1)
        changed += 1
    return changed
