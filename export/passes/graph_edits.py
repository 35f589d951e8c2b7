"""What the passes share: reading constants and changing nodes of an `onnx_ir` graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.export.operators import DOMAIN

# Element-wise operators of one tensor: any permutation of channels commutes with them.
UNARY = frozenset(
    {
        "Abs",
        "Cast",
        "Clip",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Mish",
        "Neg",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Sqrt",
        "Tanh",
    }
)


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The content of a constant or an initializer, or None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def add_initializer(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """Register `array` as an initializer called `name`, or like it if that is taken."""
    unique, count = name, 1
    while unique in graph.initializers:
        unique, count = f"{name}_{count}", count + 1
    value = ir.Value(
        name=unique,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(np.asarray(array, order="C"), name=unique),
    )
    graph.register_initializer(value)
    return value


def rank(value: ir.Value | None) -> int | None:
    """Number of axes, or None where it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def channels(value: ir.Value | None) -> int | None:
    """Length of axis 1, or None where it is not a known number."""
    if value is None or value.shape is None or len(value.shape) < 2:
        return None
    length = value.shape[1]
    return length if isinstance(length, int) else None


def only_use(value: ir.Value) -> ir.Node | None:
    """The node that is the one consumer of `value`, through one input; else None."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def is_standard(node: ir.Node | None, op_type: str) -> bool:
    """Whether `node` is the standard operator `op_type`."""
    return node is not None and node.domain == "" and node.op_type == op_type


def is_custom(node: ir.Node | None, op_type: str) -> bool:
    """Whether `node` is our operator `op_type`."""
    return node is not None and node.domain == DOMAIN and node.op_type == op_type


def groups(conv: ir.Node) -> int:
    """Groups of a convolution."""
    attribute = conv.attributes.get("group")
    return 1 if attribute is None else attribute.as_int()


def weight_of(conv: ir.Node) -> NDArray[np.float32] | None:
    """The constant weight of a convolution `(O, I/groups, kH, kW)`, or None."""
    return constant(conv.inputs[1])


def bias_of(conv: ir.Node) -> NDArray[np.float32] | None:
    """The constant bias of a convolution `(O,)`, or None where it has none."""
    return constant(conv.inputs[2]) if len(conv.inputs) > 2 else None


def has_constants(node: ir.Node | None) -> bool:
    """Whether `node` is a convolution whose weight and bias are constants."""
    if not is_standard(node, "Conv"):
        return False
    assert node is not None
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    return weight_of(node) is not None and (not has_bias or bias_of(node) is not None)


def has_constant_weights(node: ir.Node | None) -> bool:
    """As `has_constants`, of maps `(N, C, H, W)`: not one in three dimensions."""
    if not has_constants(node):
        return False
    assert node is not None
    weight = weight_of(node)
    return weight is not None and weight.ndim == 4


def ints(conv: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute of a convolution that is a list of integers."""
    attribute = conv.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def is_pointwise(node: ir.Node) -> bool:
    """Whether `node` is a 1x1 convolution of constant weights, pixel by pixel."""
    if not has_constant_weights(node):
        return False
    weight = weight_of(node)
    assert weight is not None
    return (
        weight.shape[2:] == (1, 1)
        and not any(ints(node, "pads", (0,)))
        and set(ints(node, "strides", (1,))) == {1}
    )


def set_weights(
    conv: ir.Node,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    *,
    group: int | None = None,
) -> None:
    """Give a convolution new constants; the old ones may still serve other nodes."""
    graph = conv.graph
    assert isinstance(graph, ir.Graph)
    old = conv.inputs[1]
    assert old is not None
    conv.replace_input_with(1, add_initializer(graph, f"{old.name}_new", weight))
    if bias is not None:
        value = add_initializer(graph, f"{conv.name}_bias", bias)
        if len(conv.inputs) > 2:
            conv.replace_input_with(2, value)
        else:
            conv.resize_inputs(3)
            conv.replace_input_with(2, value)
    if group is not None:
        conv.attributes["group"] = ir.AttrInt64("group", group)


def like(value: ir.Value, model: ir.Value, name: str) -> ir.Value:
    """`value`, now called `name` and of the shape and type of `model`."""
    value.name, value.shape, value.type = name, model.shape, model.type
    return value


def replace_by_sum(conv: ir.Node, nodes: list[ir.Node]) -> None:
    """Replace `conv` by `nodes`, whose convolutions are added up."""
    graph, output = conv.graph, conv.outputs[0]
    assert isinstance(graph, ir.Graph)
    made: list[ir.Node] = []
    total: ir.Value | None = None
    for node in nodes:
        made.append(node)
        if not is_standard(node, "Conv"):
            continue
        k = len(made)
        here = like(node.outputs[0], output, f"{output.name}_piece_{k}")
        if total is None:
            total = here
            continue
        add = ir.Node("", "Add", [here, total], name=f"{conv.name}_add_{k}")
        made.append(add)
        total = like(add.outputs[0], output, f"{output.name}_sum_{k}")
    assert total is not None
    total.name = output.name
    ir.convenience.replace_nodes_and_values(
        graph, conv, [conv], made, [output], [total]
    )
