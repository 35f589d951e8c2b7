"""Graph passes: each a module, each leaving the result as it was, only faster.

`optimize` runs the row of passes that pays on a target. What was measured is written in
the modules: for ONNX Runtime milliseconds on a processor, for TensorRT the bytes that
the kernels of an engine read and write a frame, as ``derain-bench bytes`` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx_ir as ir

from derain.core.manifest import Target
from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.channel_permutations import fold_channel_permutations
from derain.export.passes.cleanup import fold_constants, remove_dead
from derain.export.passes.conflicting_concats import split_conflicting_concats
from derain.export.passes.dense_groups import make_grouped_convolutions_dense
from derain.export.passes.depthwise_folds import fold_depthwise
from derain.export.passes.fused_units import fuse_shuffle_units
from derain.export.passes.nested_concats import nest_concats
from derain.export.passes.padded_concats import pad_concats
from derain.export.passes.pointwise_folds import fold_pointwise
from derain.export.passes.redundant_relus import remove_redundant_relus
from derain.export.passes.residual_folds import fold_residuals
from derain.export.passes.split_concats import split_convolutions_of_concats
from derain.export.passes.thin_convolutions import widen_thin_convolutions


@dataclass(frozen=True, slots=True)
class Pass:
    """One row of the table.

    Attributes:
        run: Changes a model in place and returns how many things it changed.
        targets: Where it pays; empty where it runs only if it is asked for.
    """

    run: Callable[[ir.Model], int]
    targets: frozenset[Target]


_EVERYWHERE: frozenset[Target] = frozenset({"any", "onnxruntime", "tensorrt"})
# Measured on ONNX Runtime alone; TensorRT has kernels of its own for these shapes.
_PROCESSOR: frozenset[Target] = frozenset({"any", "onnxruntime"})
# Measured on TensorRT-RTX's engines: they save bytes, some by more arithmetic.
_BANDWIDTH: frozenset[Target] = frozenset({"tensorrt"})
_ASKED: frozenset[Target] = frozenset()

PASSES = {
    "fold_constants": Pass(fold_constants, _EVERYWHERE),
    "fold_batch_norms": Pass(fold_batch_norms, _EVERYWHERE),
    "fuse_shuffle_units": Pass(fuse_shuffle_units, _ASKED),
    "fold_channel_permutations": Pass(fold_channel_permutations, _EVERYWHERE),
    "remove_redundant_relus": Pass(remove_redundant_relus, _BANDWIDTH),
    "fold_residuals": Pass(fold_residuals, _BANDWIDTH),
    "fold_pointwise": Pass(fold_pointwise, _BANDWIDTH),
    "fold_depthwise": Pass(fold_depthwise, _BANDWIDTH),
    "split_conflicting_concats": Pass(split_conflicting_concats, _BANDWIDTH),
    "pad_concats": Pass(pad_concats, _BANDWIDTH),
    "nest_concats": Pass(nest_concats, _BANDWIDTH),
    "make_grouped_convolutions_dense": Pass(
        make_grouped_convolutions_dense, _PROCESSOR
    ),
    "split_convolutions_of_concats": Pass(split_convolutions_of_concats, _PROCESSOR),
    "widen_thin_convolutions": Pass(widen_thin_convolutions, _PROCESSOR),
    "remove_dead": Pass(remove_dead, _EVERYWHERE),
}


def optimize(
    model: ir.Model,
    target: Target,
    after: Callable[[str, ir.Model], None] = lambda name, model: None,
    asked: Collection[str] = (),
) -> dict[str, int]:
    """Run the passes that pay on `target`, in place.

    Args:
        model: A graph whose ``derain`` nodes have no bodies yet.
        target: What the graph will run on.
        after: Called after each pass with its name and the graph.
        asked: Names of passes to run though they are no target's.

    Returns:
        How many things each pass changed, in the order they ran.
    """
    changed: dict[str, int] = {}
    for name, entry in PASSES.items():
        if target in entry.targets or name in asked:
            changed[name] = entry.run(model)
            after(name, model)
    return changed
