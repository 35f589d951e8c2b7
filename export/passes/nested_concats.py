"""Concats that begin or end as another one does take it as one part.

A dense block concatenates all it has made so far in front of every convolution:
``cat[z0, z1]``, ``cat[z0, z1, z2]``, ... Written so, TensorRT copies every part into
every concatenation. Written as ``cat[cat[z0, z1], z2]``, it lays all of them into the
memory of the largest, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from derain.export.passes.graph_edits import is_standard


def nest_concats(model: ir.Model) -> int:
    """Let concatenations of channels share what they have in common, in place.

    Bit-equal: the same channels in the same order.

    Returns:
        The number of Concats that now take another one as a part.
    """
    changed = 0
    earlier: list[tuple[list[ir.Value | None], ir.Value]] = []
    for node in model.graph:
        if not is_standard(node, "Concat") or node.attributes["axis"].as_int() != 1:
            continue
        parts = list(node.inputs)
        shared = max(
            (known for known in earlier if is_end(known[0], parts)),
            key=lambda known: len(known[0]),
            default=None,
        )
        earlier.append((parts, node.outputs[0]))
        if shared is None:
            continue
        count = len(shared[0])
        at_start = parts[:count] == shared[0]
        rest = parts[count:] if at_start else parts[:-count]
        inputs = [shared[1], *rest] if at_start else [*rest, shared[1]]
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        changed += 1
    return changed


def is_end(short: Sequence[ir.Value | None], parts: Sequence[ir.Value | None]) -> bool:
    """Whether `parts` begins or ends with `short`, and has more."""
    count = len(short)
    return 1 < count < len(parts) and short in (parts[:count], parts[-count:])
