"""ReLUs of what is never negative, removed.

A sum of two results of ReLUs needs none, yet TensorRT gives it a kernel of its own at
times: it read and wrote 16 channels for each of four of treefusion's eight blocks.
"""

from __future__ import annotations

import onnx_ir as ir

from derain.export.passes.graph_edits import constant, is_standard

# Never negative where none of their inputs is.
_KEEPING = frozenset(
    {
        *("Add", "Mul", "Concat", "Cast", "Identity", "MaxPool", "AveragePool"),
        *("GlobalAveragePool", "Gather", "Slice", "Reshape", "Transpose", "Min"),
        *("DepthToSpace", "SpaceToDepth", "Split", "Squeeze", "Unsqueeze", "Flatten"),
    }
)
_MAKING = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Sqrt"})
# Of these only the first input is data.
_INDEXED = frozenset({"Gather", "Slice", "Reshape", "Split", "Squeeze", "Unsqueeze"})


def remove_redundant_relus(model: ir.Model) -> int:
    """Remove each ReLU whose input is never negative, in place. Bit-equal.

    Returns:
        The number of ReLUs removed.
    """
    graph = model.graph
    changed = 0
    positive: set[ir.Value] = set()
    for node in list(graph):
        if node.domain != "":
            continue
        source = node.inputs[0] if node.inputs else None
        if is_standard(node, "Relu") and source in positive:
            output = node.outputs[0]
            if output.is_graph_output():
                continue
            output.replace_all_uses_with(source)
            graph.remove(node, safe=True)
            changed += 1
        elif _is_positive(node, positive):
            positive.update(node.outputs)
    return changed


def _is_positive(node: ir.Node, positive: set[ir.Value]) -> bool:
    """Whether no result of `node` is ever negative."""
    if node.op_type in _MAKING:
        return True
    inputs = node.inputs[:1] if node.op_type in _INDEXED else node.inputs
    if node.op_type == "Max":
        return any(_known(value, positive) for value in inputs)
    return node.op_type in _KEEPING and all(_known(v, positive) for v in inputs)


def _known(value: ir.Value | None, positive: set[ir.Value]) -> bool:
    if value in positive:
        return True
    number = constant(value)
    return number is not None and bool((number >= 0).all())
