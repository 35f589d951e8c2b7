"""3x3 convolutions to three channels computed four pixels at a time.

Blocked kernels compute 16 output channels whether they are wanted or not, so the last
convolution of a derainer, to 3 channels, wastes 13 of 16 products. Computing the four
pixels of a 2x2 block as twelve channels of a 4x4 convolution with stride 2 wastes 4 of
16 and pays 16/9 for the larger window: 2.25 times less work, and DepthToSpace puts the
pixels back. 32 -> 3 channels at 512x512 on ONNX Runtime, two cores: 13 ms plain, 6.5 ms
so, bit-equal.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.export.passes.graph_edits import (
    add_initializer,
    bias_of,
    groups,
    has_constant_weights,
    like,
    weight_of,
)

MAX_OUTPUTS = 4  # four pixels of four channels fill a block of 16
MIN_INPUTS = 16  # below that another kernel runs, which does not work in blocks


def widen_thin_convolutions(model: ir.Model) -> int:
    """Rewrite 3x3 convolutions with few outputs, in place.

    Returns:
        The number of convolutions rewritten.
    """
    changed = 0
    for node in list(model.graph):
        if _is_thin(node):
            _widen(node)
            changed += 1
    return changed


def _is_thin(node: ir.Node) -> bool:
    if not has_constant_weights(node) or groups(node) != 1:
        return False
    weight = weight_of(node)
    assert weight is not None

    def ints(name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        attribute = node.attributes.get(name)
        return default if attribute is None else tuple(attribute.as_ints())

    return (
        weight.shape[0] <= MAX_OUTPUTS
        and weight.shape[1] >= MIN_INPUTS
        and weight.shape[2:] == (3, 3)
        and ints("pads", (0, 0, 0, 0)) == (1, 1, 1, 1)
        and ints("strides", (1, 1)) == (1, 1)
        and ints("dilations", (1, 1)) == (1, 1)
        and node.outputs[0].shape is not None
    )


def four_pixel_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(O, I, 3, 3)` -> `(4*O, I, 4, 4)`, pixel by pixel of a 2x2 block."""
    outputs, inputs, _, _ = weight.shape
    wide = np.zeros((2, 2, outputs, inputs, 4, 4), weight.dtype)
    for row in range(2):
        for column in range(2):
            wide[row, column, :, :, row : row + 3, column : column + 3] = weight
    return wide.reshape(4 * outputs, inputs, 4, 4)


def _widen(node: ir.Node) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    weight, bias, output = weight_of(node), bias_of(node), node.outputs[0]
    source = node.inputs[0]
    assert weight is not None
    assert source is not None
    assert output.shape is not None
    n, outputs, *frame = output.shape
    even = all(isinstance(length, int) and length % 2 == 0 for length in frame)
    inputs = [
        source,
        add_initializer(graph, f"{node.name}_wide_weight", four_pixel_weight(weight)),
    ]
    if bias is not None:
        inputs.append(
            add_initializer(graph, f"{node.name}_wide_bias", np.tile(bias, 4))
        )
    # One more row and column of padding make an odd frame even; they are cut off below.
    beyond = 1 if even else 2
    conv = ir.Node(
        "",
        "Conv",
        inputs,
        ir.convenience.convert_attributes(
            {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, beyond, beyond]}
        ),
        name=f"{node.name}_wide",
    )
    blocks = like(conv.outputs[0], output, f"{output.name}_blocks")
    half = [(k + 1) // 2 if isinstance(k, int) else None for k in frame]
    assert isinstance(outputs, int)
    blocks.shape = ir.Shape([n, 4 * outputs, *half])
    spread = ir.Node(
        "",
        "DepthToSpace",
        [blocks],
        ir.convenience.convert_attributes({"blocksize": 2, "mode": "DCR"}),
        name=f"{node.name}_spread",
    )
    nodes = [conv, spread]
    if not even:
        pixels = like(spread.outputs[0], output, f"{output.name}_pixels")
        pixels.shape = ir.Shape([n, outputs, None, None])
        size = ir.Node(
            "",
            "Shape",
            [source],
            ir.convenience.convert_attributes({"start": 2, "end": 4}),
            name=f"{node.name}_size",
        )
        ends = size.outputs[0]
        ends.name, ends.shape = f"{output.name}_size", ir.Shape([2])
        ends.type = ir.TensorType(ir.DataType.INT64)
        starts = add_initializer(graph, f"{node.name}_starts", np.zeros(2, np.int64))
        axes = add_initializer(graph, f"{node.name}_axes", np.array([2, 3], np.int64))
        crop = ir.Node(
            "", "Slice", [pixels, starts, ends, axes], name=f"{node.name}_crop"
        )
        nodes += [size, crop]
    new = like(nodes[-1].outputs[0], output, str(output.name))
    ir.convenience.replace_nodes_and_values(graph, node, [node], nodes, [output], [new])
