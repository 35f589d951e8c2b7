"""The second graph of a bundle for several cameras: N frames in one call.

It is ``model-batch.onnx``, beside ``model.onnx``, which still takes one frame. Each row
has inputs and outputs of its own, with the names and shapes that ``model.onnx`` has:

    row_0_frame, row_0_state_0_in  ->  row_0_derained, row_0_state_0_out, row_0_health

The graph lays them side by side, along the first axis, and takes them apart again. So
what a camera remembers stays where it is, whichever graph its next frame goes through,
whatever its row and whoever goes along.
"""

from __future__ import annotations

import re

BATCH_FILE = "model-batch.onnx"
MOST_BATCH = 16  # rows


def of_row(name: str, row: int) -> str:
    """What the tensor `name` of ``model.onnx`` is called in that row."""
    return f"row_{row}_{name}"


def without_row(name: str) -> str:
    """What a tensor of either graph is called in ``model.onnx``."""
    return re.sub(r"^row_\d+_", "", name)
