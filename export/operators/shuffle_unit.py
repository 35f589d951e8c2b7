"""Body of a ShuffleNet unit of QSNet, for what has no kernel of its own for it.

Each call has a function of its own: TensorRT's parser names layers after the nodes of a
function and warns where a name comes twice.
"""

from __future__ import annotations

import onnx_ir as ir

from derain.export.operators.bodies import Body
from derain.runtime.cuda.shuffle_unit import defined, shuffle_order


def shuffle_unit(number: int, *, rounded: bool, opset: int) -> ir.Function:
    """``relu(expand(depthwise(shuffle(relu(squeeze(x))))) + x)``.

    Args:
        number: Of the call in the graph.
        rounded: Whether what is between the convolutions is rounded as FP16 tensors
            would be (see `derain.export.fp16.emulate_fp16`).
        opset: Version of the standard operators.
    """
    inputs = ["x"]
    for part in ("squeeze", "depthwise", "expand"):
        inputs += [f"{part}_weight", f"{part}_bias"]
    name = f"ShuffleUnit{number}{'Rounded' if rounded else ''}"
    body = Body(name, inputs, opset)
    x, w1, b1, w2, b2, w3, b3 = body.inputs

    def kept(value: ir.Value) -> ir.Value:
        return body.as_half(value) if rounded else value

    groups, middle = defined("GROUPS"), defined("MIDDLE")
    pads = [1, 1, 1, 1]
    y = kept(body.op("Relu", body.op("Conv", x, w1, b1, group=groups)))
    y = body.op("Gather", y, body.constant(shuffle_order()), axis=1)
    y = kept(body.op("Conv", y, w2, b2, group=middle, pads=pads))
    y = kept(body.op("Conv", y, w3, b3, group=groups))
    return body.finish(body.op("Relu", body.op("Add", y, x)))
