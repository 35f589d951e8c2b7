"""Graphs whose engines' bytes are compared: every target and precision, not calibrated.

What kernels move does not depend on weights or ranges: in INT8 are all layers that may
be, and residuals with them, as accuracy control begins.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from derain.calibration.layers import find_layers, residual_adds
from derain.calibration.qdq import insert_qdq, part_biases
from derain.core.manifest import Precision
from derain.core.sizes import Size, SizeRange
from derain.export.fp16 import positions, to_fp16
from derain.export.frame_graph import wrap_frame
from derain.export.operators.lowering import lower_operators
from derain.export.pass_choice import PassRow
from derain.export.passes import optimize
from derain.export.passes.cleanup import remove_dead
from derain.export.passes.int8_groups import make_int8_groups_dense
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.loading import open_network

_OPSET = 20


def core_of(name: str, size: Size) -> CoreGraph:
    """The graph of a network with random weights, from frame to frame, no pass run.

    Args:
        name: In the registry, or ``package.module:Class``.
        size: Of the frames.

    Raises:
        DerainError: It cannot be opened or exported.
    """
    sizes = SizeRange.static(size)
    loaded = open_network(name, random_weights=True)
    core = to_onnx(loaded.video or loaded.network, loaded.facts, sizes, _OPSET)
    wrap_frame(core, loaded.facts, sizes)
    return core


def write_graph(
    core: CoreGraph, target: PassRow, precision: Precision, path: Path
) -> None:
    """Write the graph that a bundle would have to `path`; `core` stays as it is.

    Raises:
        CalibrationError: In INT8, it has no layer that may be.
    """
    model = core.model.clone()
    optimize(model, target)
    if precision == "int8":
        _to_int8(model)
        if target == "tensorrt":
            make_int8_groups_dense(model)
    if precision != "fp32":
        to_fp16(model, positions(model))
        part_biases(model)
    remove_dead(model)
    lower_operators(model, target, core.maps)
    onnx.save(ir.to_proto(model), path)


def _to_int8(model: ir.Model) -> None:
    layers = [layer for layer in find_layers(model) if not layer.stays]
    # All different: a compiler joins what has one range, as few tensors do.
    tensors = dict.fromkeys(layer.tensor for layer in layers)
    ranges = {tensor: 1 + index / 2**12 for index, tensor in enumerate(tensors)}
    names = {layer.name for layer in layers}
    insert_qdq(model, ranges, names, residuals=residual_adds(model).keys())
