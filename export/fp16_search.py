"""Which nodes of an FP16 graph stay in FP32, decided by measuring."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.export.fp16 import emulate_fp16
from derain.export.operators.lowering import lower_operators
from derain.export.to_onnx import CoreGraph
from derain.export.verify import Comparison, compare, run_graph

# Above this nothing is gained that an eye, or a PSNR against the truth, could see: the
# papers' pictures are 25 to 40 dB from the truth.
ENOUGH_DB = 55.0

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class HalfChoice:
    """What was decided, and how close the graph then is to PyTorch in FP32.

    Attributes:
        keep_fp32: Names of the nodes that stay in FP32.
        comparison: With every other tensor rounded to FP16; None for an FP32 graph.
    """

    keep_fp32: frozenset[str] = frozenset()
    comparison: Comparison | None = None


def choose_half_precision(
    core: CoreGraph, frames: Sequence[Frame], wanted: Sequence[Frame]
) -> HalfChoice:
    """Keep as little as possible in FP32.

    Everything goes to FP16 if the picture then is within `ENOUGH_DB` of PyTorch's.
    Otherwise the operator types are tried one by one, the one that helps most stays in
    FP32, and so on until that is reached or nothing helps.

    Args:
        core: The frame-to-frame graph in FP32, without bodies of operators.
        frames: What to measure on.
        wanted: What PyTorch makes of them.
    """
    groups = _groups(core.model)
    kept: frozenset[str] = frozenset()
    best = _measure(core, kept, frames, wanted)
    while best.psnr_db < ENOUGH_DB and groups:
        trials = {
            name: _measure(core, kept | nodes, frames, wanted)
            for name, nodes in groups.items()
        }
        name = max(trials, key=lambda k: trials[k].psnr_db)
        if trials[name].psnr_db < best.psnr_db + 0.1:
            break
        kept |= groups.pop(name)
        best = trials[name]
    return HalfChoice(kept, best)


def _groups(model: ir.Model) -> dict[str, frozenset[str]]:
    """Names of the nodes by operator type; convolutions, which carry the work, not."""
    groups: dict[str, set[str]] = {}
    for node in model.graph:
        if node.op_type != "Conv" and any(
            output.dtype == ir.DataType.FLOAT for output in node.outputs
        ):
            groups.setdefault(node.op_type, set()).add(str(node.name))
    return {name: frozenset(nodes) for name, nodes in groups.items()}


def _measure(
    core: CoreGraph,
    keep_fp32: frozenset[str],
    frames: Sequence[Frame],
    wanted: Sequence[Frame],
) -> Comparison:
    model = core.model.clone()
    emulate_fp16(model, keep_fp32)
    lower_operators(model, "any", core.maps, rounded=lambda name: name not in keep_fp32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emulated.onnx"
        ir.save(model, path)
        return compare(run_graph(path, frames), wanted)
