"""Constants folded, BatchNorms folded, dead nodes and duplicates dropped.

The work is onnxscript's and onnx_ir's; this module says which of it we use. Functions
must not be attached yet: the optimizer corrupts bodies that refer to attributes.
"""

from __future__ import annotations

import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
    RemoveUnusedNodesPass,
)


def fold_constants(model: ir.Model) -> int:
    """Fold what is constant and BatchNorms behind convolutions, in place.

    Returns:
        How many nodes the graph lost.
    """
    before = len(model.graph)
    onnxscript.optimizer.optimize(model)
    CommonSubexpressionEliminationPass()(model)
    remove_dead(model)
    return before - len(model.graph)


def remove_dead(model: ir.Model) -> int:
    """Drop nodes and initializers that no output depends on, in place.

    Returns:
        How many nodes were dropped.
    """
    before = len(model.graph)
    RemoveUnusedNodesPass()(model)
    DeduplicateInitializersPass()(model)
    return before - len(model.graph)
