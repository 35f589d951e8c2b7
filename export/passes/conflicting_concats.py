"""Convolutions of concatenations split whose parts would have to be copied.

TensorRT computes a part where its concatenation lies, without a copy, if it begins and
ends at a multiple of eight channels; and a map lies in one place only. GraNet
concatenates the results of its dense blocks, each of which is the beginning of a
concatenation of its own: at 1280x720, 484 MB a frame were copied for twelve channels of
result, and 531 MB at the beginnings of the blocks. Split, the convolution adds its
results up, part by part.
"""

from __future__ import annotations

import onnx_ir as ir

from derain.export.passes.graph_edits import (
    channels,
    groups,
    has_constant_weights,
    is_standard,
    weight_of,
)
from derain.export.passes.nested_concats import is_end
from derain.export.passes.padded_concats import UNIT
from derain.export.passes.split_concats import can_split, parts_of, split

Parts = list[ir.Value | None]


def split_conflicting_concats(model: ir.Model) -> int:
    """Split dense convolutions of concatenations where that saves bytes, in place.

    Returns:
        The number of convolutions split.
    """
    changed = 0
    while True:
        concats = [
            node
            for node in model.graph
            if is_standard(node, "Concat") and node.attributes["axis"].as_int() == 1
        ]
        every = [list(node.inputs) for node in concats]
        gains = [(_gain(node, every), index) for index, node in enumerate(concats)]
        best, index = max(gains, default=(0, 0))
        if best <= 0:
            return changed
        (use,) = concats[index].outputs[0].uses()
        split(use.node, parts_of(concats[index]))
        model.graph.remove(concats[index], safe=True)
        changed += 1


def _gain(concat: ir.Node, every: list[Parts]) -> int:
    """Channels that are no longer copied, less those that are added up instead."""
    output = concat.outputs[0]
    conv = next((use.node for use in output.uses()), None)
    if conv is None or not has_constant_weights(conv) or groups(conv) != 1:
        return 0
    if not can_split(concat, output):
        return 0
    parts, places = list(concat.inputs), parts_of(concat)
    others = [
        other
        for other in every
        if other != parts and not is_end(other, parts) and not is_end(parts, other)
    ]
    copied, offset = 0, 0
    for part in parts:
        count = channels(part) or 0
        if offset % UNIT or count % UNIT or any(part in other for other in others):
            copied += count
        offset += count
    weight = weight_of(conv)
    assert weight is not None
    return copied - len(weight) * (len(places) - 1) if len(places) > 1 else 0
