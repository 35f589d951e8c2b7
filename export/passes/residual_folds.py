"""Residual additions folded into the convolution that already reads the residual.

``conv(cat[x, y]) + x`` is a convolution whose weights of `x` have ones on the diagonal:
`x` is not read a second time, nor kept in a second place for that. GraNet's twelve
dense blocks end so.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from derain.export.passes.graph_edits import (
    bias_of,
    channels,
    groups,
    has_constant_weights,
    ints,
    is_standard,
    only_use,
    set_weights,
    weight_of,
)


def fold_residuals(model: ir.Model) -> int:
    """Fold residual additions into convolutions, in place.

    Returns:
        The number of additions folded.
    """
    changed = 0
    for node in list(model.graph):
        if is_standard(node, "Add") and any(
            _fold(node, value, residual)
            for value, residual in (node.inputs, node.inputs[::-1])
        ):
            changed += 1
    return changed


def _fold(add: ir.Node, value: ir.Value | None, residual: ir.Value | None) -> bool:
    if value is None or residual is None or only_use(value) is None:
        return False
    conv = value.producer()
    if conv is None or not has_constant_weights(conv) or groups(conv) != 1:
        return False
    weight, source = weight_of(conv), conv.inputs[0]
    assert weight is not None
    assert source is not None
    offset = _offset(source, residual)
    count = channels(residual)
    if offset is None or count != len(weight) or not _is_centred(conv):
        return False
    weight = weight.copy()
    rows = np.arange(count)
    weight[rows, offset + rows, weight.shape[2] // 2, weight.shape[3] // 2] += 1
    set_weights(conv, weight, bias_of(conv))
    output = add.outputs[0]
    name = output.name
    output.replace_all_uses_with(value, replace_graph_outputs=True)
    value.name = name
    graph = add.graph
    assert graph is not None
    graph.remove(add, safe=True)
    return True


def _offset(source: ir.Value, wanted: ir.Value) -> int | None:
    """First channel of `wanted` within `source`; None where it is no part of it."""
    if source is wanted:
        return 0
    concat = source.producer()
    if not is_standard(concat, "Concat"):
        return None
    assert concat is not None
    if concat.attributes["axis"].as_int() != 1:
        return None
    start = 0
    for part in concat.inputs:
        count = channels(part)
        if part is None or count is None:
            return None
        inner = _offset(part, wanted)
        if inner is not None:
            return start + inner
        start += count
    return None


def _is_centred(conv: ir.Node) -> bool:
    """Whether the middle tap of a convolution sees the pixel that it computes."""
    weight = weight_of(conv)
    assert weight is not None
    height, width = weight.shape[2:]
    down, right = ints(conv, "dilations", (1, 1))
    pads = ints(conv, "pads", (0, 0, 0, 0))
    return (
        height % 2 == width % 2 == 1
        and pads == (down * (height // 2), right * (width // 2)) * 2
        and set(ints(conv, "strides", (1, 1))) == {1}
    )
