"""Bodies of the 2x2 pool with indices and of its unpool, bit-equal to PyTorch's.

Where the pool's input is at hand the unpool needs no index: the pool took the first of
the four pixels (row by row) that equals the maximum, so four comparisons say where each
value goes back. That form has no int64, no scatter and nothing that TensorRT refuses.
Comparing with the up-sampled maximum instead would be wrong on ties, which are common
after a ReLU.

ONNX Runtime on 2 cores, pool included, 32 channels at 1280x720 / 64 at 640x360, best of
five, interleaved:

    four comparisons (`unpool_by_pool_input`)    128 ms / 62 ms
    MaxPool's indices and ScatterElements        131 ms / 58 ms
    MaxPool's indices and MaxUnpool              77 ms / 43 ms

so the target ``onnxruntime`` takes the last (`flat_max_pool`, `flat_max_unpool`), and
every other target the first; ``Indices`` of MaxPool and MaxUnpool are refused by
TensorRT. A pool whose input holds NaN is not covered.
"""

from __future__ import annotations

import onnx_ir as ir

from derain.export.operators.bodies import Body


def unpool_by_pool_input(*, even: bool, opset: int) -> ir.Function:
    """``y = unpool(x)`` where `pooled` is what the pool saw.

    Args:
        even: Whether height and width of `pooled` are even; if they may be odd, the
            last row and column, which the pool dropped, become zeros.
        opset: Version of the standard operators.
    """
    name = "UnpoolByPoolInput" if even else "UnpoolByPoolInputOdd"
    body = Body(name, ["x", "pooled"], opset)
    x, pooled = body.inputs
    chosen = _first_maxima(body, pooled if even else _even_part(body, pooled, x))
    zero = body.zero_like(x)
    phases = [body.op("Where", here, x, zero) for here in chosen]
    y = body.op(
        "DepthToSpace", body.op("Concat", *phases, axis=1), blocksize=2, mode="DCR"
    )
    if not even:
        missing = body.op("Sub", _spatial_size(body, pooled), _spatial_size(body, y))
        pads = body.op("Concat", body.ints(0, 0, 0, 0, 0, 0), missing, axis=0)
        y = body.op("Pad", y, pads, zero)
    return body.finish(y)


def max_pool_with_indices(*, opset: int) -> ir.Function:
    """Maxima and their positions in the flattened plane, as PyTorch counts them."""
    body = Body("MaxPoolWithIndices", ["x"], opset)
    (x,) = body.inputs
    values = body.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    phase0, phase1, phase2, _ = _first_maxima(body, _even_part(body, x, values))
    width = body.op("Shape", x, start=3, end=4)
    zero, one, two = body.ints(0), body.ints(1), body.ints(2)
    step = body.op(
        "Where",
        phase0,
        zero,
        body.op(
            "Where",
            phase1,
            one,
            body.op("Where", phase2, width, body.op("Add", width, one)),
        ),
    )
    corners = []
    for axis, stride in ((2, body.op("Mul", width, two)), (3, two)):
        count = body.op("Shape", values, start=axis, end=axis + 1)
        limits = (body.op("Squeeze", limit) for limit in (zero, count, one))
        steps = body.op("Range", *limits)
        corners.append(body.op("Mul", steps, stride))
    rows = body.op("Unsqueeze", corners[0], one)
    indices = body.op("Add", step, body.op("Add", rows, corners[1]))
    return body.finish(values, indices)


def unpool_by_indices(*, opset: int) -> ir.Function:
    """Scatter each value to its position; for indices that were computed with."""
    body = Body("UnpoolByIndices", ["x", "indices", "height", "width"], opset)
    x, indices, height, width = body.inputs
    planes = body.op("Shape", x, start=0, end=2)
    height = body.op("Reshape", height, body.ints(1))
    width = body.op("Reshape", width, body.ints(1))
    area = body.op("Mul", height, width)
    zeros = body.op(
        "Expand", body.zero_like(x), body.op("Concat", planes, area, axis=0)
    )
    flat = body.op("Concat", planes, body.ints(-1), axis=0)
    scattered = body.op(
        "ScatterElements",
        zeros,
        body.op("Reshape", indices, flat),
        body.op("Reshape", x, flat),
        axis=2,
    )
    return body.finish(
        body.op("Reshape", scattered, body.op("Concat", planes, height, width, axis=0))
    )


def flat_max_pool(*, opset: int) -> ir.Function:
    """Maxima and their positions as ONNX counts them, for `flat_max_unpool`."""
    body = Body("FlatMaxPool2x2", ["x"], opset)
    values, indices = body.ops(
        "MaxPool", body.inputs[0], outputs=2, kernel_shape=[2, 2], strides=[2, 2]
    )
    return body.finish(values, indices)


def flat_max_unpool(*, opset: int) -> ir.Function:
    """Undo `flat_max_pool`; `pooled`, what the pool saw, gives the size."""
    body = Body("FlatMaxUnpool2x2", ["x", "indices", "pooled"], opset)
    x, indices, pooled = body.inputs
    return body.finish(
        body.op(
            "MaxUnpool",
            x,
            indices,
            body.op("Shape", pooled),
            kernel_shape=[2, 2],
            strides=[2, 2],
        )
    )


def _first_maxima(body: Body, pooled: ir.Value) -> list[ir.Value]:
    """For each of the four phases, where the pool took its maximum from it."""
    blocks = body.op("SpaceToDepth", pooled, blocksize=2)
    phases = body.ops("Split", blocks, outputs=4, axis=1, num_outputs=4)
    maximum = body.op("Max", *phases)
    equal = [body.op("Equal", phase, maximum) for phase in phases[:3]]
    taken = equal[0]
    chosen = [equal[0]]
    for here in equal[1:]:
        chosen.append(body.op("And", here, body.op("Not", taken)))
        taken = body.op("Or", taken, here)
    return [*chosen, body.op("Not", taken)]


def _even_part(body: Body, x: ir.Value, half: ir.Value) -> ir.Value:
    """`x` without the odd last row and column that a pool to `half` never saw."""
    ends = body.op("Mul", _spatial_size(body, half), body.ints(2))
    return body.op("Slice", x, body.ints(0, 0), ends, body.ints(2, 3))


def _spatial_size(body: Body, x: ir.Value) -> ir.Value:
    return body.op("Shape", x, start=2, end=4)
