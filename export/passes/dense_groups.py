"""Grouped convolutions made dense where that is faster.

A dense kernel multiplies by zeros, yet needs no split of the channels: ONNX Runtime's
blocked kernels and tensor cores work on 16 channels at once.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.export.passes.graph_edits import (
    bias_of,
    groups,
    has_constant_weights,
    set_weights,
    weight_of,
)

# Dense is g times the arithmetic. See `derain.export.passes` for what was measured.
MAX_GROUPS = 4
MAX_GROUP_CHANNELS = 16


def dense_weight(weight: NDArray[np.float32], group: int) -> NDArray[np.float32]:
    """`(O, I/group, kH, kW)` grouped -> `(O, I, kH, kW)` with zeros between groups."""
    outputs, inputs, *kernel = weight.shape
    dense = np.zeros((outputs, inputs * group, *kernel), weight.dtype)
    step = outputs // group
    for k in range(group):
        dense[k * step : (k + 1) * step, k * inputs : (k + 1) * inputs] = weight[
            k * step : (k + 1) * step
        ]
    return dense


def make_grouped_convolutions_dense(model: ir.Model) -> int:
    """Make narrow grouped convolutions dense; depth-wise ones stay as they are.

    Returns:
        The number of convolutions changed.
    """
    changed = 0
    for node in model.graph:
        if not has_constant_weights(node):
            continue
        group = groups(node)
        weight = weight_of(node)
        assert weight is not None
        narrow = 1 < weight.shape[1] <= MAX_GROUP_CHANNELS
        if 1 < group <= MAX_GROUPS and narrow:
            set_weights(node, dense_weight(weight, group), bias_of(node), group=1)
            changed += 1
    return changed
