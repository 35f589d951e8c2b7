"""A bundle's graph as Triton can serve it: states by sequence, no scalars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from derain.core.manifest import Manifest
from derain.runtime.backends.states import HEALTH

START = "sequence_start"  # input: 1 with the first frame of a sequence, else 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        dtype: As NumPy calls it.
        shape: A length for each axis; -1 where it is free.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


def tensors_of(values: list[onnx.ValueInfoProto]) -> dict[str, Tensor]:
    """The inputs or outputs of a graph, by name."""
    found = {}
    for value in values:
        kind = value.type.tensor_type
        shape = tuple(
            each.dim_value if each.HasField("dim_value") else -1
            for each in kind.shape.dim
        )
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        found[value.name] = Tensor(value.name, str(np.dtype(dtype)), shape)
    return found


def read_graph(path: Path, manifest: Manifest) -> tuple[onnx.ModelProto, bool]:
    """The graph of `path` for Triton, and whether it differs from the file.

    Triton begins a sequence with zeros. Where the network begins with the frame itself,
    the graph chooses by an input more, `START`. Triton knows no scalars but in batches:
    `health` becomes one of a length of 1.
    """
    model = onnx.load(path)
    graph = model.graph
    kept = [each.input for each in manifest.states if each.start == "frame"]
    if kept:
        _begin_with_frame(graph, kept)
    health = tensors_of(list(graph.output)).get(HEALTH)
    if health is not None and not health.shape:
        _lengthen(graph)
    changed = bool(kept) or health is not None
    if changed:
        onnx.checker.check_model(model, full_check=True)
    return model, changed


def _begin_with_frame(graph: onnx.GraphProto, names: list[str]) -> None:
    frame = graph.input[0].name
    chosen = {name: f"{name}_or_frame" for name in names}
    for node in graph.node:
        node.input[:] = [chosen.get(each, each) for each in node.input]
    is_first = f"{START}_bool"
    nodes = [
        helper.make_node("Cast", [START], [is_first], to=onnx.TensorProto.BOOL),
        *(
            helper.make_node("Where", [is_first, frame, name], [new])
            for name, new in chosen.items()
        ),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    graph.input.append(
        helper.make_tensor_value_info(START, onnx.TensorProto.INT32, [1])
    )


def _lengthen(graph: onnx.GraphProto) -> None:
    scalar = f"{HEALTH}_scalar"
    for node in graph.node:
        node.input[:] = [scalar if each == HEALTH else each for each in node.input]
        node.output[:] = [scalar if each == HEALTH else each for each in node.output]
    shape = numpy_helper.from_array(np.array([1], np.int64), f"{HEALTH}_shape")
    graph.initializer.append(shape)
    graph.node.append(helper.make_node("Reshape", [scalar, shape.name], [HEALTH]))
    (value,) = (each for each in graph.output if each.name == HEALTH)
    value.CopyFrom(helper.make_tensor_value_info(HEALTH, onnx.TensorProto.FLOAT, [1]))
