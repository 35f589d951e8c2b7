"""Concatenations filled up to a multiple of eight channels.

TensorRT's FP16 kernels read channels in eights. QSNet's 175 channels were therefore
copied to 176 (647 MB a frame at 1280x720), and every part was copied into place, too
(649 MB). What fills up is any channel there is: its weights are zero, so that the
result is the same but for the order in which a kernel adds.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from derain.export.passes.graph_edits import (
    add_initializer,
    bias_of,
    channels,
    groups,
    has_constant_weights,
    is_standard,
    like,
    set_weights,
    weight_of,
)

UNIT = 8
# A short concatenation costs less to copy than five more channels to read.
LEAST = 32


def pad_concats(model: ir.Model) -> int:
    """Pad concatenations that only dense convolutions read, in place.

    The parts that are no multiple of eight channels must be neighbours: they and what
    fills up become one part, so that all the others stay where they were computed.

    Returns:
        The number of concatenations padded.
    """
    changed = 0
    for node in list(model.graph):
        if not is_standard(node, "Concat") or node.attributes["axis"].as_int() != 1:
            continue
        counts = [channels(value) for value in node.inputs]
        uneven = [k for k, count in enumerate(counts) if count is None or count % UNIT]
        run = node.inputs[uneven[0] : uneven[-1] + 1] if uneven else ()
        total = sum(count or 0 for count in counts)
        if None in counts or len(run) != len(uneven) or total < LEAST:
            continue
        missing = -total % UNIT
        donor = next((v for v in run if (channels(v) or 0) >= missing), None)
        if missing and donor is not None and _readers_take_more(node.outputs[0]):
            _pad(node, list(run), donor, missing)
            changed += 1
    return changed


def _readers_take_more(value: ir.Value) -> bool:
    return not value.is_graph_output() and all(
        use.idx == 0 and has_constant_weights(use.node) and groups(use.node) == 1
        for use in value.uses()
    )


def _pad(
    concat: ir.Node, run: list[ir.Value | None], donor: ir.Value, missing: int
) -> None:
    graph, output = concat.graph, concat.outputs[0]
    assert isinstance(graph, ir.Graph)
    assert donor.shape is not None
    count, _, *frame = donor.shape
    first = list(concat.inputs).index(run[0])
    start = sum(channels(value) or 0 for value in concat.inputs[: first + len(run)])
    total = channels(output)
    assert total is not None

    bounds = [
        add_initializer(graph, f"{concat.name}_pad_{k}", np.array([k], np.int64))
        for k in (0, missing, 1)
    ]
    piece = ir.Node("", "Slice", [donor, *bounds], name=f"{concat.name}_padding")
    padding = like(piece.outputs[0], donor, f"{output.name}_padding")
    padding.shape = ir.Shape([count, missing, *frame])
    axis = ir.convenience.convert_attributes({"axis": 1})
    join = ir.Node("", "Concat", [*run, padding], axis, name=f"{concat.name}_narrow")
    narrow = like(join.outputs[0], donor, f"{output.name}_narrow")
    width = sum(channels(value) or 0 for value in run) + missing
    narrow.shape = ir.Shape([count, width, *frame])
    graph.insert_before(concat, [piece, join])

    parts = [*concat.inputs[:first], narrow, *concat.inputs[first + len(run) :]]
    concat.resize_inputs(len(parts))
    for index, value in enumerate(parts):
        concat.replace_input_with(index, value)
    output.shape = ir.Shape([count, total + missing, *frame])
    for use in output.uses():
        weight = weight_of(use.node)
        assert weight is not None
        zeros = np.zeros((len(weight), missing, *weight.shape[2:]), weight.dtype)
        wide = np.concatenate([weight[:, :start], zeros, weight[:, start:]], axis=1)
        set_weights(use.node, wide, bias_of(use.node))
