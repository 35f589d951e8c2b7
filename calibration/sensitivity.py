"""What each layer in INT8 costs: a cheap estimate for all, the truth for a few."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.layers import Layer, nodes_by_name, values_by_name
from derain.calibration.qdq import insert_qdq
from derain.calibration.session import GraphSession, Shot, state_outputs

Means = Mapping[str, NDArray[np.float32]]


def local_errors(
    model: ir.Model,
    layers: Sequence[Layer],
    ranges: Mapping[str, float],
    means: Means | None,
    shots: Iterable[Shot],
) -> dict[str, float]:
    """Error of each layer's own result, relative to that result, by its name.

    Every layer runs twice on the same float input, in float and in INT8, so one run of
    a graph of twice the size shows all of them.

    Returns:
        Squared error over squared result, 0 for a layer whose result is all zero.
    """
    session = GraphSession(_beside(model, layers, ranges, means))
    errors = np.zeros(len(layers))
    powers = np.zeros(len(layers))
    for shot in shots:
        seen = session.run(*shot)
        errors += [float(seen[f"error_{k}"]) for k in range(len(layers))]
        powers += [float(seen[f"power_{k}"]) for k in range(len(layers))]
    relative = np.divide(errors, powers, out=np.zeros_like(errors), where=powers > 0)
    return {
        layer.name: float(value) for layer, value in zip(layers, relative, strict=True)
    }


def alone_errors(
    model: ir.Model,
    layers: Sequence[str],
    ranges: Mapping[str, float],
    means: Means | None,
    shots: Sequence[Shot],
) -> dict[str, float]:
    """Error of the picture when one layer alone is INT8, by the layer's name.

    The picture is taken before it is rounded to grey levels, which would hide what a
    layer costs in company of others.

    Returns:
        Mean squared errors, in grey levels of 255.
    """
    picture = picture_name(model)
    wanted = _pictures(model, picture, shots)
    errors = {}
    for layer in layers:
        changed = model.clone()
        insert_qdq(changed, ranges, {layer}, means)
        got = _pictures(changed, picture, shots)
        errors[layer] = float(
            np.mean(
                [np.mean(np.square(a - b)) for a, b in zip(got, wanted, strict=True)]
            )
        )
    return errors


def picture_name(model: ir.Model) -> str:
    """The tensor that becomes the frame when it is rounded, in grey levels of 255."""
    value = model.graph.outputs[0]
    producer = value.producer()
    while producer is not None and producer.op_type in _TO_FRAME:
        rounds = producer.op_type == "Round"
        first = producer.inputs[0]
        assert first is not None
        value, producer = first, first.producer()
        if rounds:
            break
    return str(value.name)


_TO_FRAME = frozenset({"Cast", "Gather", "Transpose", "Round"})


def _pictures(
    model: ir.Model, picture: str, shots: Sequence[Shot]
) -> list[NDArray[np.float32]]:
    copy = model.clone()
    value = values_by_name(copy)[picture]
    copy.graph.outputs[:] = [value, *state_outputs(copy.graph)]
    session = GraphSession(copy)
    return [session.run(*shot)[picture] for shot in shots]


def _beside(
    model: ir.Model,
    layers: Sequence[Layer],
    ranges: Mapping[str, float],
    means: Means | None,
) -> ir.Model:
    """A copy of `model` with an INT8 twin of every layer and their difference."""
    copy = model.clone()
    nodes = nodes_by_name(copy)
    graph = copy.graph
    twins: dict[str, ir.Node] = {}
    sums: list[ir.Node] = []
    for layer in layers:
        node = nodes[layer.name]
        twin = ir.Node(
            "", "Conv", node.inputs, node.attributes.values(), name=f"{node.name}_twin"
        )
        value = twin.outputs[0]
        value.name = f"{node.outputs[0].name}_twin"
        value.shape, value.type = node.outputs[0].shape, node.outputs[0].type
        graph.insert_after(node, twin)
        twins[layer.name] = twin
    insert_qdq(copy, ranges, {f"{layer.name}_twin" for layer in layers}, means)
    for index, layer in enumerate(layers):
        y = nodes[layer.name].outputs[0]
        twin = twins[layer.name]
        difference = ir.Node("", "Sub", [y, twin.outputs[0]], name=f"lost_{index}")
        difference.outputs[0].name = f"lost_{index}"
        graph.insert_after(twin, difference)
        for name, value in (("error", difference.outputs[0]), ("power", y)):
            node = ir.Node(
                "",
                "ReduceSumSquare",
                [value],
                [ir.AttrInt64("keepdims", 0)],
                name=f"{name}_{index}",
            )
            node.outputs[0].name = f"{name}_{index}"
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            sums.append(node)
    graph.extend(reversed(sums))  # see ObserverOutputs.finish
    graph.outputs[:] = [*(node.outputs[0] for node in sums), *state_outputs(graph)]
    return copy
