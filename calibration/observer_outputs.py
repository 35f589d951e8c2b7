"""Outputs that show a graph's tensors and cost little, for frames of any size.

They are pools: ONNX Runtime runs these in the blocked layout of its convolutions and on
all cores, where a slice or a reduction has the whole tensor copied out of it first.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from derain.calibration.session import state_outputs


class ObserverOutputs:
    """Nodes added to a graph, each right behind the tensor it looks at.

    Args:
        model: Changed in place; its results give way to those added once
            `finish` is called.
    """

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._outputs: list[ir.Value] = []

    def finish(self) -> None:
        """Make what was added the graph's only results, besides its states.

        Where several nodes lead nowhere, ONNX Runtime computes what the last of them
        needs, then what the last but one needs, and so on. So what the first tensor
        shows comes last, and no tensor is kept longer than the network needs it: qsnet
        at 1280x720 takes 3.8 GB in place of 6.4 GB. (Flatten, since the runtime puts
        nodes of its own behind pools, in any order.)
        """
        shown = []
        for value in self._outputs:
            node = ir.Node("", "Flatten", [value], name=f"show_{value.name}")
            node.outputs[0].name, value.name = value.name, f"{value.name}_inside"
            node.outputs[0].type = value.type
            shown.append(node)
        self._graph.extend(reversed(shown))
        states = state_outputs(self._graph)
        self._graph.outputs[:] = [*(node.outputs[0] for node in shown), *states]

    def mean(self, name: str, value: ir.Value) -> None:
        """Result `name`: the mean of each channel, `(1, C)`.

        It is not finite where any value of the channel is not.
        """
        self._show(self._behind(value, "GlobalAveragePool", name))

    def largest(self, name: str, value: ir.Value) -> None:
        """Results that start with `name`: the greatest x and -x of each channel.

        Each `(1, C)`. Behind a ReLU there is no negative one to look for.
        """
        self._show(self._behind(value, "GlobalMaxPool", name))
        producer = value.producer()
        if producer is None or producer.op_type != "Relu":
            negative = self._behind(value, "Neg", f"{name}_negative")
            self._show(self._behind(negative, "GlobalMaxPool", f"{name}_below"))

    def sample(self, name: str, value: ir.Value, step: int) -> None:
        """Result `name`: every `step`-th row and column of `value`, `(1, n)`."""
        attributes = [
            ir.AttrInt64s("kernel_shape", [1, 1]),
            ir.AttrInt64s("strides", [step, step]),
        ]
        self._show(self._behind(value, "MaxPool", name, attributes))

    def shape(self, name: str, value: ir.Value) -> None:
        """Result `name`: the shape of `value`, int64, in some shape itself."""
        self._show(self._behind(value, "Shape", name), ir.DataType.INT64)

    def _behind(
        self,
        value: ir.Value,
        op_type: str,
        name: str,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        node = ir.Node("", op_type, [value], attributes, name=f"observe_{name}")
        node.outputs[0].name = name
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return node.outputs[0]

    def _show(self, value: ir.Value, dtype: ir.DataType = ir.DataType.FLOAT) -> None:
        value.type = ir.TensorType(dtype)
        self._outputs.append(value)
