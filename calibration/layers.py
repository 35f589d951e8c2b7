"""What of a float graph can run in INT8, and what must not be disturbed.

Convolutions with constant weights are layers; nothing else is. Each has its own input,
its own weights and, where the graph is measured, its own share of the multiplications.
(No network here has a matrix product with constant weights; attention multiplies two
activations, and its softmax needs floating point.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.core.errors import CalibrationError

_QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}
)


FEEDS_ARGMAX = "feeds an argmax"
# qsnet's twelve, of 56 layers, are 3 % of its multiplications. In floating point the
# picture is 0.5 to 0.6 dB nearer to FP32 (two methods, 480x320) and ONNX Runtime's
# processor takes 8 % less time. Other grouped layers, 45 %, cost 1 dB and pay for it.
DEPTHWISE = "is depth-wise"
# Stagewise's last three layers, of 134, are 2 % of its multiplications and more than
# half of INT8's error: 45.9 dB from FP32 with them, 48.8 dB without, and flicker grows
# by 2 instead of 4 % (480x320).
REDRAWS = "redraws the picture"


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution that can run in INT8.

    Attributes:
        name: Its node's name.
        tensor: Name of the tensor it reads.
        stays: Why it is not tried in INT8; empty if it is. `FEEDS_ARGMAX`: a pool whose
            argmax is used sees its result, through nothing but element-wise operators,
            and noise there moves pixels. `REDRAWS`: the picture itself goes through
            it, and is not added again behind it. `DEPTHWISE`: little to gain, and much
            noise.
    """

    name: str
    tensor: str
    stays: str = ""


def constant(value: ir.Value | None) -> NDArray[np.float32] | None:
    """The content of a constant or an initializer, or None."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def add_initializer(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """Register `array` as an initializer called `name`, which must be free."""
    assert name not in graph.initializers, name
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(np.asarray(array, order="C"), name=name),
    )
    graph.register_initializer(value)
    return value


def find_layers(model: ir.Model) -> tuple[Layer, ...]:
    """The layers of a float graph, in its order.

    Raises:
        CalibrationError: There is none, or the graph is quantised already.
    """
    for node in model.graph:
        if node.op_type in _QUANTISED:
            raise CalibrationError(
                f"the graph is quantised already ({node.name} is a {node.op_type}); "
                "start from an FP32 bundle"
            )
    reasons = dict.fromkeys(_redraw(model.graph), REDRAWS)
    reasons |= dict.fromkeys(_feed_argmax(model.graph), FEEDS_ARGMAX)
    layers = tuple(
        Layer(
            name=str(node.name),
            tensor=str(node.inputs[0].name),
            stays=reasons.get(node) or (DEPTHWISE if _is_depthwise(node) else ""),
        )
        for node in model.graph
        if _is_layer(node) and node.inputs[0] is not None
    )
    if not layers:
        raise CalibrationError(
            "the graph has nothing to quantise: no FP32 convolution with constant "
            "weights; use --fp16"
        )
    return layers


def residual_adds(model: ir.Model) -> dict[str, tuple[ir.Node, ...]]:
    """Additions that may read a tensor as layers do, quantised, by its name.

    A compiler makes one kernel of a convolution, the addition behind it and the
    quantisation behind that, if what is added is INT8, too: a residual in floating
    point wants a result in floating point. Never the image, which costs 13 dB, nor what
    leads to an argmax.
    """
    argmax = _lead_to_argmax(model.graph)
    found: dict[str, list[ir.Node]] = {}
    tensors = {x.tensor for x in find_layers(model) if not x.stays}
    for node in model.graph:
        if node.domain or node.op_type != "Add" or node.outputs[0] in argmax:
            continue
        if any(constant(value) is not None for value in node.inputs):
            continue
        for value in node.inputs:
            if value is not None and value.name in tensors and not _is_image(value):
                found.setdefault(str(value.name), []).append(node)
    return {name: tuple(nodes) for name, nodes in found.items()}


def tensor_keys(layers: Iterable[Layer]) -> dict[str, str]:
    """For each tensor that layers read, a name that holds for every frame size.

    PyTorch numbers additions and the like through, and those that compute sizes count:
    a graph of any size calls ``add_429`` what is ``add_9`` in one of a fixed size.
    Convolutions keep their names, so a tensor is the input of one of its readers.
    """
    keys: dict[str, str] = {}
    for layer in sorted(layers, key=lambda x: x.name):  # graphs differ in their order
        keys.setdefault(layer.tensor, f"input of {layer.name}")
    return keys


def nodes_by_name(model: ir.Model) -> dict[str, ir.Node]:
    """The nodes of the graph by name."""
    return {str(node.name): node for node in model.graph}


def values_by_name(model: ir.Model) -> dict[str, ir.Value]:
    """What the nodes of the graph compute, and its inputs, by name."""
    values = {str(value.name): value for value in model.graph.inputs}
    for node in model.graph:
        values.update((str(output.name), output) for output in node.outputs)
    return values


def concat_groups(model: ir.Model, tensors: Iterable[str]) -> list[frozenset[str]]:
    """Tensors of which one is a concatenation of the others, in groups.

    Where a convolution reads a concatenation and others read its parts, one range for
    all lets a compiler concatenate INT8: with several ranges every part is quantised
    twice.
    """
    wanted = set(tensors)
    groups: list[set[str]] = []
    for node in model.graph:
        if node.domain or node.op_type != "Concat":
            continue
        joined = {str(node.outputs[0].name)} & wanted
        parts = {str(value.name) for value in node.inputs if value is not None} & wanted
        if not (joined and parts):
            continue
        group = joined | parts
        for other in [g for g in groups if g & group]:
            group |= other
            groups.remove(other)
        groups.append(group)
    return [frozenset(group) for group in groups]


def _is_layer(node: ir.Node) -> bool:
    if node.domain or node.op_type != "Conv":
        return False
    x, weight = node.inputs[:2]
    return (
        x is not None
        and x.dtype in (ir.DataType.FLOAT, None)
        and weight is not None
        and weight.dtype == ir.DataType.FLOAT
        and constant(weight) is not None
    )


def _is_depthwise(node: ir.Node) -> bool:
    weight = constant(node.inputs[1])
    assert weight is not None  # `_is_layer` asks for it
    return node.attributes.get_int("group", 1) > 1 and weight.shape[1] == 1


def _redraw(graph: ir.Graph) -> list[ir.Node]:
    """Convolutions between the last place where the image is added and the picture.

    None where the image is not added at all: the whole network redraws it then.
    """
    found: list[ir.Node] = []
    node = graph.outputs[0].producer()
    while node is not None and node.op_type not in ("Add", "Sub"):
        if node.op_type == "Conv":
            found.append(node)
        computed = [x for x in node.inputs if x is not None and constant(x) is None]
        if len(computed) != 1:
            return []
        node = computed[0].producer()
    if node is None or not any(_is_image(x) for x in node.inputs):
        return []
    return found


def _is_image(value: ir.Value | None) -> bool:
    """Whether no convolution leads to `value`, but the network's input does."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        if value is None or value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if node is not None:
            if node.op_type == "Conv":
                return False
            waiting += node.inputs
    return any(value.is_graph_input() for value in seen)


_ELEMENTWISE = frozenset({"Add", "LeakyRelu", "Relu", "Mul", "Sub", "Identity"})


def _feed_argmax(graph: ir.Graph) -> frozenset[ir.Node]:
    """Convolutions from which only element-wise operators lead to an argmax."""
    producers = (value.producer() for value in _lead_to_argmax(graph))
    return frozenset(x for x in producers if x is not None and x.op_type == "Conv")


def _lead_to_argmax(graph: ir.Graph) -> set[ir.Value]:
    """What nodes compute and element-wise operators alone lead from to an argmax."""
    seen: set[ir.Value] = set()
    waiting = [value for node in graph for value in _argmax_inputs(node)]
    while waiting:
        value = waiting.pop()
        producer = value.producer()
        if value in seen or producer is None:
            continue
        seen.add(value)
        if producer.op_type in _ELEMENTWISE:
            waiting += [x for x in producer.inputs if x is not None]
    return seen


def _argmax_inputs(node: ir.Node) -> list[ir.Value]:
    """The tensors of which `node` looks for the position of a maximum."""
    name = node.op_type
    index = {"MaxPoolWithIndices": 0, "FlatMaxPool2x2": 0}.get(name)
    if name.startswith("UnpoolByPoolInput"):
        index = 1
    if name == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses():
        index = 0
    value = None if index is None else node.inputs[index]
    return [] if value is None else [value]
