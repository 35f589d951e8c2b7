"""Small help to write a function body as a list of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from derain.export.operators import DOMAIN


class Body:
    """A model-local function being written, node after node.

    Every node gets a name of its own: TensorRT's parser refuses two nodes of one name.

    Args:
        name: Name of the function, and of the nodes that call it.
        inputs: Names of its inputs.
        opset: Version of the standard operators, that of the model.
    """

    def __init__(self, name: str, inputs: Sequence[str], opset: int) -> None:
        self.name = name
        self.inputs = [ir.Value(name=text) for text in inputs]
        self._opset = opset
        self._nodes: list[ir.Node] = []

    def op(
        self, op_type: str, *inputs: ir.Value, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """Append a node with one output and return that output."""
        return self.ops(op_type, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value,
        outputs: int,
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """Append a node with several outputs and return them."""
        index = len(self._nodes)
        node = ir.Node(
            domain,
            op_type,
            inputs,
            ir.convenience.convert_attributes(attributes),
            num_outputs=outputs,
            name=f"{self.name}_{index}",
        )
        for k, value in enumerate(node.outputs):
            value.name = f"{self.name}_{index}_{k}"
        self._nodes.append(node)
        return node.outputs

    def ints(self, *values: int) -> ir.Value:
        """A constant vector of int64."""
        return self.constant(np.array(values, np.int64))

    def constant(self, value: np.ndarray[Any, Any]) -> ir.Value:
        """A constant tensor."""
        return self.op("Constant", value=ir.tensor(value))

    def zero_like(self, x: ir.Value) -> ir.Value:
        """A scalar zero of the type of `x`, whatever that is."""
        return self.op("CastLike", self.constant(np.array(0, np.float32)), x)

    def as_half(self, x: ir.Value) -> ir.Value:
        """The FP32 tensor `x` rounded to what FP16 can hold."""
        half = self.op("Cast", x, to=int(ir.DataType.FLOAT16))
        return self.op("Cast", half, to=int(ir.DataType.FLOAT))

    def finish(self, *outputs: ir.Value) -> ir.Function:
        """The function that returns `outputs`."""
        imports = {"": self._opset}
        imports |= {node.domain: 1 for node in self._nodes if node.domain}
        graph = ir.Graph(self.inputs, outputs, nodes=self._nodes, opset_imports=imports)
        return ir.Function(DOMAIN, self.name, graph=graph, attributes=[])
