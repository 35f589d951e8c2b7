"""Explicit Q/DQ: the precision of every layer, written into the graph.

What TensorRT 10.3 to 11 and TensorRT-RTX take: symmetric INT8, zero point 0, one scale
for an activation, one per output channel for weights, biases in floating point, and
Q/DQ in front of convolutions alone. The convolutions read the quantised tensor, and
residual additions where accuracy control allows it; the image and pools keep the float
one. (Feeding ``x - net(x)`` from the quantised image too costs 13 dB, as common tools
do: 52.9 against 66.4 dB.)

ONNX Runtime's processor runs this layout slower than FP32: it fuses a convolution into
an integer one only where the result is quantised as well. With unsigned activations
behind ReLU and every result quantised, residual branches included, all are fused, and
a frame takes 0.55 s for treefusion at 384x384 (this layout 1.20 s, FP32 0.64 s) and
0.79 s for qsnet at 480x320 (1.09 s, 0.48 s), on two busy cores with VNNI. That is no
reason for a second layout with a poorer picture: OpenVINO fuses this one, and is faster
than FP32 by what the README's table says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.layers import (
    add_initializer,
    constant,
    find_layers,
    nodes_by_name,
    residual_adds,
)
from derain.calibration.ranges import LEVELS

# Scales are FP16 in FP16 graphs. Below this FP16 keeps less than four bits of one.
_LEAST_SCALE = 2.0**-20


def scale_of(reach: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Step of INT8 that reaches `reach`: the next number that FP16 can hold.

    The same graph in FP32 and in FP16 then has the same steps.
    """
    wanted = np.maximum(np.asarray(reach, np.float64) / LEVELS, _LEAST_SCALE)
    half = wanted.astype(np.float16)
    low = half.astype(np.float64) < wanted
    up = np.where(low, np.nextafter(half, np.float16(np.inf)), half)
    return np.asarray(up, np.float32)


def quantise_weights(
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """INT8 weights and their scales, one per output channel.

    Args:
        weights: `(O, I/groups, kH, kW)` float32.

    Returns:
        `(O, I/groups, kH, kW)` int8 in [-127, 127] and `(O,)` float32.
    """
    scale = scale_of(np.abs(weights).reshape(len(weights), -1).max(axis=1))
    steps = np.rint(weights / scale.reshape(-1, 1, 1, 1))
    return np.clip(steps, -LEVELS, LEVELS).astype(np.int8), scale


def insert_qdq(
    model: ir.Model,
    ranges: Mapping[str, float],
    layers: Collection[str],
    means: Mapping[str, NDArray[np.float32]] | None = None,
    residuals: Collection[str] = (),
) -> None:
    """Make convolutions INT8, in place.

    Args:
        model: A float graph.
        ranges: How far INT8 reaches, for every tensor that one of `layers` reads.
        layers: Names of the convolutions; the others stay as they are.
        means: Mean of each channel of those tensors, `(C,)`; what rounding the weights
            shifts on average is then taken off the bias. None leaves biases alone.
        residuals: Tensors of `residual_adds` that are added as `layers` read them;
            those that no layer of `layers` reads stay as they are.
    """
    nodes, adds = nodes_by_name(model), residual_adds(model) if residuals else {}
    quantised: dict[str, ir.Value] = {}
    for layer in find_layers(model):
        if layer.name not in layers:
            continue
        node = nodes[layer.name]
        if layer.tensor not in quantised:
            quantised[layer.tensor] = _quantise_input(node, ranges[layer.tensor])
        mean = None if means is None else means[layer.tensor]
        _quantise_weight(node, mean)
        node.replace_input_with(0, quantised[layer.tensor])
    for name in quantised.keys() & set(residuals):
        for node in adds[name]:
            for index, value in enumerate(node.inputs):
                if value is not None and value.name == name:
                    node.replace_input_with(index, quantised[name])


def part_biases(model: ir.Model) -> int:
    """Add the biases of INT8 convolutions behind them, in place, for FP16 graphs.

    ONNX Runtime makes a bias of its own an integer, ``bias / (input's scale * weight's
    scale)``, which it computes in the type of the scales: in FP16 what is beyond 65504
    becomes infinite, and the picture wrong (an own U-Net: 34.9 dB from the same graph
    as it is written; with the biases behind, equal to it). TensorRT parts a bias itself
    (``..._before_bias``), and makes the same tensors and kernels of both; OpenVINO puts
    it into the convolution again.

    Returns:
        How many there were.
    """
    graph, count = model.graph, 0
    for node in list(graph):
        if node.domain or node.op_type != "Conv" or len(node.inputs) < 3:
            continue
        source = _behind_casts(node.inputs[0])
        bias = constant(node.inputs[2])
        if bias is None or source is None or source.op_type != "DequantizeLinear":
            continue
        result = node.outputs[0]
        apart = add_initializer(
            graph, f"{node.name}_bias_apart", bias.reshape(1, -1, 1, 1)
        )
        node.resize_inputs(2)
        total = ir.Node("", "Add", [result, apart], name=f"{node.name}_add_bias")
        added = total.outputs[0]
        added.name, added.shape, added.type = result.name, result.shape, result.type
        result.name = f"{result.name}_before_bias"
        graph.insert_after(node, total)
        for use in [u for u in result.uses() if u.node is not total]:
            use.node.replace_input_with(use.idx, added)
        for index, output in enumerate(graph.outputs):
            if output is result:
                graph.outputs[index] = added
        count += 1
    return count


def _behind_casts(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    while node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def _quantise_input(user: ir.Node, reach: float) -> ir.Value:
    graph, x = user.graph, user.inputs[0]
    assert isinstance(graph, ir.Graph)
    assert x is not None
    scale = add_initializer(graph, f"{x.name}_scale", scale_of(reach))
    zero = add_initializer(graph, f"{x.name}_zero", np.array(0, np.int8))
    down = ir.Node("", "QuantizeLinear", [x, scale, zero], name=f"{x.name}_q")
    small = _typed(down.outputs[0], x, f"{x.name}_int8", ir.DataType.INT8)
    up = ir.Node("", "DequantizeLinear", [small, scale, zero], name=f"{x.name}_dq")
    back = _typed(up.outputs[0], x, f"{x.name}_dequantized", ir.DataType.FLOAT)
    producer = x.producer()
    if producer is None:
        graph.insert_before(user, [down, up])
    else:
        graph.insert_after(producer, [down, up])
    return back


def _quantise_weight(node: ir.Node, mean: NDArray[np.float32] | None) -> None:
    graph, weight = node.graph, node.inputs[1]
    assert isinstance(graph, ir.Graph)
    assert weight is not None
    content = constant(weight)
    assert content is not None
    small, scale = quantise_weights(content)
    inputs = [
        add_initializer(graph, f"{node.name}_weight_int8", small),
        add_initializer(graph, f"{node.name}_weight_scale", scale),
        add_initializer(
            graph, f"{node.name}_weight_zero", np.zeros(len(scale), np.int8)
        ),
    ]
    axis = [ir.AttrInt64("axis", 0)]
    name = f"{node.name}_weight_dq"
    up = ir.Node("", "DequantizeLinear", inputs, axis, name=name)
    back = _typed(
        up.outputs[0], weight, f"{node.name}_weight_dequantized", ir.DataType.FLOAT
    )
    graph.insert_before(node, up)
    node.replace_input_with(1, back)
    if mean is not None:
        lost = content - small.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
        _shift_bias(node, _response(lost, mean))


def _response(
    weights: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What a convolution makes of a constant picture, `(C,)` -> `(O,)`."""
    outputs, inputs = weights.shape[:2]
    taps = weights.sum(axis=(2, 3))
    groups = len(mean) // inputs
    channels = mean.reshape(groups, inputs).repeat(outputs // groups, axis=0)
    return np.asarray((taps * channels).sum(axis=1), np.float32)


def _shift_bias(node: ir.Node, shift: NDArray[np.float32]) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if len(node.inputs) > 2 and node.inputs[2] is not None and old is None:
        return  # computed when the graph runs
    bias = shift if old is None else (old + shift).astype(np.float32)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, add_initializer(graph, f"{node.name}_bias_int8", bias))


def _typed(value: ir.Value, like: ir.Value, name: str, dtype: ir.DataType) -> ir.Value:
    value.name, value.shape, value.type = name, like.shape, ir.TensorType(dtype)
    return value
