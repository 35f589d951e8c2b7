"""What a graph costs, counted on its nodes: arithmetic, parameters, bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, shape_inference
from onnxscript import optimizer

from derain.core.errors import BenchmarkError

# The result is a view of the input, or a conversion that the neighbour does.
_FREE = frozenset(
    {
        *("Cast", "Constant", "ConstantOfShape", "Expand", "Flatten", "Identity"),
        *("Reshape", "Shape", "Size", "Squeeze", "Unsqueeze", "Range"),
    }
)
# Computed where the operand was made: what else it reads moves, nothing is written.
_FUSED = frozenset(
    {
        *("Add", "And", "Ceil", "Clip", "Div", "Equal", "Erf", "Exp", "Floor", "Gelu"),
        *("Greater", "GreaterOrEqual", "HardSigmoid", "LeakyRelu", "Less", "Max"),
        *("LessOrEqual", "Log", "Min", "Mul", "Neg", "Not", "Or", "Pow", "PRelu"),
        *("Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sqrt", "Sub", "Tanh"),
        *("Where", "BatchNormalization", "QuantizeLinear", "DequantizeLinear"),
    }
)
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCost:
    """One node.

    Attributes:
        name: The node's.
        op_type: Its operator.
        macs: Multiply-accumulates.
        moved_bytes: Read and written.
    """

    name: str
    op_type: str
    macs: int
    moved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCounts:
    """A graph at its size.

    Attributes:
        pixels: Of a frame.
        parameters: Numbers in constant floating-point tensors, the constants of the
            frame's conversion included; BatchNorm may have been folded.
        nodes: What each costs, functions inlined.
        least_bytes: Frame in, frame out, what is remembered in and out, and parameters,
            once: nothing can move less.
    """

    pixels: int
    parameters: int
    nodes: tuple[NodeCost, ...]
    least_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products."""
        return sum(node.macs for node in self.nodes)

    @property
    def moved_bytes(self) -> int:
        """Bytes moved layer by layer, element-wise operators fused with what is before.

        Every other operator reads its operands from memory and writes its result.
        """
        return sum(node.moved_bytes for node in self.nodes)


def count_graph(path: Path) -> GraphCounts:
    """Count the ONNX file at `path`, functions and all.

    Raises:
        BenchmarkError: A shape that the count needs is not known, as in a graph for a
            range of sizes.
    """
    model = inliner.inline_local_functions(onnx.load(path))
    try:
        return _count(model)
    except BenchmarkError:
        # Sizes that are worked out in the graph, as PyTorch writes a pixel unshuffle.
        return _count(optimizer.optimize(model, onnx_shape_inference=True))


def _count(model: onnx.ModelProto) -> GraphCounts:
    model = shape_inference.infer_shapes(model, data_prop=True)
    tensors = _Tensors(model.graph)
    nodes = tuple(_cost(node, tensors) for node in model.graph.node)
    frame = tensors.shape(model.graph.input[0].name)
    given = [value.name for value in (*model.graph.input, *model.graph.output)]
    ends = [name for name in given if name not in tensors.constants]
    weights = [t for t in model.graph.initializer if t.data_type in _FLOATS]
    weight_bytes = sum(tensors.bytes(t.name) for t in weights)
    return GraphCounts(
        pixels=math.prod(frame) // 3,
        parameters=sum(math.prod(t.dims) for t in weights),
        nodes=nodes,
        least_bytes=sum(tensors.bytes(name) for name in ends) + weight_bytes,
    )


class _Tensors:
    """Shapes and types of all tensors of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._known: dict[str, tuple[list[int | None], int]] = {}
        self.constants = {t.name: t for t in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            if tensor.HasField("shape"):
                shape = [
                    d.dim_value if d.HasField("dim_value") else None
                    for d in tensor.shape.dim
                ]
                self._known[value.name] = shape, tensor.elem_type
        for constant in graph.initializer:
            self._known[constant.name] = list(constant.dims), constant.data_type

    def shape(self, name: str) -> list[int]:
        """Shape of the tensor called `name`."""
        shape, _ = self._known.get(name, ([None], 0))
        if None in shape:
            raise BenchmarkError(
                f"the shape of {name!r} is not known; count a graph of one size"
            )
        return [length for length in shape if length is not None]

    def bytes(self, name: str) -> int:
        """Bytes of the tensor called `name`; an empty name is an absent operand."""
        if not name:
            return 0
        shape = self.shape(name)
        dtype = helper.tensor_dtype_to_np_dtype(self._known[name][1])
        return math.prod(shape) * np.dtype(dtype).itemsize


def _cost(node: onnx.NodeProto, tensors: _Tensors) -> NodeCost:
    moved = 0
    if node.op_type in _FUSED:
        # The largest operand was just made; the others are read.
        sizes = sorted(tensors.bytes(name) for name in node.input)
        moved = sum(sizes[:-1])
    elif node.op_type not in _FREE:
        moved = sum(tensors.bytes(name) for name in (*node.input, *node.output))
    return NodeCost(
        name=node.name,
        op_type=node.op_type,
        macs=_macs(node, tensors),
        moved_bytes=moved,
    )


def _macs(node: onnx.NodeProto, tensors: _Tensors) -> int:
    if node.op_type == "Conv":
        weight = tensors.shape(node.input[1])  # (out, in / groups, kernel...)
        return math.prod(tensors.shape(node.output[0])) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        weight = tensors.shape(node.input[1])  # (in, out / groups, kernel...)
        return math.prod(tensors.shape(node.input[0])) * math.prod(weight[1:])
    if node.op_type == "MatMul":
        inner = tensors.shape(node.input[0])[-1]
        return math.prod(tensors.shape(node.output[0])) * inner
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        inner = tensors.shape(node.input[0])[0 if transposed else 1]
        return math.prod(tensors.shape(node.output[0])) * inner
    return 0
