"""BatchNorms folded into the convolutions in front of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from derain.export.passes.graph_edits import (
    bias_of,
    constant,
    has_constants,
    is_standard,
    only_use,
    set_weights,
    weight_of,
)

_DEFAULT_EPSILON = 1e-5  # of the ONNX operator


def fold_batch_norms(model: ir.Model) -> int:
    """Fold each BatchNorm behind a convolution that nothing else reads, in place.

    Computed in double precision: ``gamma / sqrt(variance + epsilon)`` is where folding
    loses accuracy.

    Returns:
        The number of BatchNorms folded.
    """
    changed = 0
    for node in list(model.graph):
        if is_standard(node, "BatchNormalization") and _fold(node):
            model.graph.remove(node, safe=True)
            changed += 1
    return changed


def _fold(norm: ir.Node) -> bool:
    source, output = norm.inputs[0], norm.outputs[0]
    conv = source.producer() if source is not None else None
    if conv is None or source is None or not has_constants(conv):
        return False
    numbers = [constant(value) for value in norm.inputs[1:5]]
    if only_use(source) is None or any(array is None for array in numbers):
        return False
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in numbers)
    epsilon = norm.attributes.get("epsilon")
    eps = _DEFAULT_EPSILON if epsilon is None else epsilon.as_float()
    weight, bias = weight_of(conv), bias_of(conv)
    assert weight is not None
    scale = gamma / np.sqrt(variance + eps)
    offset = 0.0 if bias is None else bias.astype(np.float64)
    of_outputs = scale.reshape(-1, *[1] * (weight.ndim - 1))  # (O, I, kH, kW), or 3-D
    set_weights(
        conv,
        (weight.astype(np.float64) * of_outputs).astype(weight.dtype),
        (beta + (offset - mean) * scale).astype(weight.dtype),
    )
    name = output.name
    output.replace_all_uses_with(source, replace_graph_outputs=True)
    source.name = name
    return True
