"""Channel shuffles and colour flips folded into the weights around them.

A permutation of channels commutes with element-wise, spatial and depth-wise work, so it
is carried along the graph, without a node, until a convolution takes it into its
weights. What is carried belongs to one input of one node: "read this input as
``input[:, permutation]``".

1. A permutation (a channel shuffle, or Gather along channels) adds to what is carried.
2. Element-wise and spatial nodes and depth-wise convolutions hand it on.
3. A dense convolution takes it into its weight, and so does a grouped one that is made
   dense for it, unless the convolution before can give its channels in the right order.
4. Where two operands disagree, the convolution behind one of them reorders its outputs.
5. Any other node gets its input back in order, by a Gather.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.export.passes.dense_groups import MAX_GROUPS, dense_weight
from derain.export.passes.graph_edits import (
    UNARY,
    add_initializer,
    bias_of,
    channels,
    constant,
    groups,
    has_constant_weights,
    is_standard,
    only_use,
    rank,
    set_weights,
    weight_of,
)

Permutation = NDArray[np.int64]

_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"})
_SPATIAL = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Resize"})
_WITH_AXES = frozenset({"Slice", "Pad"})  # spatial where their fourth input says so


def fold_channel_permutations(model: ir.Model) -> int:
    """Fold channel shuffles and channel Gathers into weights, in place.

    Returns:
        How many permutations were folded, less the Gathers that had to be put back.
    """
    for node in list(model.graph):
        shuffle_to_gather(node, model.graph)
    return _Folding(model.graph).run()


class _Folding:
    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._carried: dict[tuple[ir.Node, int], Permutation] = {}
        self._outputs: dict[int, Permutation] = {}
        self._restored: dict[tuple[ir.Value, bytes], ir.Value] = {}
        self._count = 0

    def run(self) -> int:
        for node in list(self._graph):
            self._visit(node)
        for index, permutation in self._outputs.items():
            value = self._graph.outputs[index]
            restored = self._restore(value, permutation, None)
            restored.name, value.name = value.name, f"{value.name}_permuted"
            self._graph.outputs[index] = restored
        return self._count

    def _visit(self, node: ir.Node) -> None:
        if (order := permutation_of(node)) is not None:
            self._visit_permutation(node, order)
        elif not any((node, k) in self._carried for k in range(len(node.inputs))):
            return
        elif node.domain == "" and (node.op_type in UNARY or _is_spatial(node)):
            self._hand_on(node, self._carried.pop((node, 0), None))
        elif node.domain == "" and node.op_type in _BINARY and len(node.inputs) == 2:
            self._visit_binary(node)
        elif is_standard(node, "Concat") and node.attributes["axis"].as_int() == 1:
            self._visit_concat(node)
        elif has_constant_weights(node):
            self._visit_conv(node)
        else:
            self._restore_inputs(node)

    def _visit_permutation(self, node: ir.Node, order: Permutation) -> None:
        source, output = node.inputs[0], node.outputs[0]
        assert source is not None
        before = self._carried.pop((node, 0), None)
        self._hand_on(node, order if before is None else before[order])
        if output.is_graph_output() and source.producer() is None:
            return  # a graph that returns its input: keep the node
        output.replace_all_uses_with(source, replace_graph_outputs=True)
        if output.name in {x.name for x in self._graph.outputs}:
            source.name = output.name
        self._graph.remove(node, safe=True)
        self._count += 1

    def _hand_on(self, node: ir.Node, permutation: Permutation | None) -> None:
        """Let every reader of what `node` makes carry `permutation`."""
        if permutation is None:
            return
        if np.array_equal(permutation, np.arange(len(permutation))):
            return
        output = node.outputs[0]
        for use in output.uses():
            self._carried[use.node, use.idx] = permutation
        for index, value in enumerate(self._graph.outputs):
            if value is output:
                self._outputs[index] = permutation

    def _visit_binary(self, node: ir.Node) -> None:
        a, b = node.inputs
        both = [self._carried.get((node, 0)), self._carried.get((node, 1))]
        wanted = next(p for p in both if p is not None)
        for value in (a, b):
            number = constant(value)
            if number is not None and number.size == 1:
                self._forget(node)
                self._hand_on(node, wanted)
                return
        if rank(a) != rank(b) or channels(a) != channels(b):
            self._restore_inputs(node)
            return
        for value, carried in zip((a, b), both, strict=True):
            if carried is not None and np.array_equal(carried, wanted):
                continue
            # r = r'[wanted]  <=>  r' = r[inverse of wanted]
            assert value is not None
            if carried is not None or not _reorder_producer(value, _inverse(wanted)):
                self._restore_inputs(node)
                return
        self._forget(node)
        self._hand_on(node, wanted)

    def _visit_concat(self, node: ir.Node) -> None:
        parts, offset = [], 0
        for index, value in enumerate(node.inputs):
            length = channels(value)
            if length is None:
                self._restore_inputs(node)
                return
            part = self._carried.get((node, index))
            parts.append(offset + (np.arange(length) if part is None else part))
            offset += length
        self._forget(node)
        self._hand_on(node, np.concatenate(parts).astype(np.int64))

    def _visit_conv(self, node: ir.Node) -> None:
        source = node.inputs[0]
        weight, bias, group = weight_of(node), bias_of(node), groups(node)
        assert source is not None
        assert weight is not None
        permutation = self._carried[node, 0]
        if group == len(permutation) == len(weight):  # depth-wise
            order = _inverse(permutation)
            set_weights(node, weight[order], None if bias is None else bias[order])
            self._forget(node)
            self._hand_on(node, permutation)
            return
        if group > 1:
            if _reorder_producer(source, permutation):
                self._forget(node)
                return
            if group > MAX_GROUPS:
                self._restore_inputs(node)
                return
            weight = dense_weight(weight, group)
        self._forget(node)
        set_weights(node, weight[:, _inverse(permutation)], bias, group=1)

    def _forget(self, node: ir.Node) -> None:
        for index in range(len(node.inputs)):
            self._carried.pop((node, index), None)

    def _restore_inputs(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            permutation = self._carried.pop((node, index), None)
            if permutation is not None:
                assert value is not None
                node.replace_input_with(index, self._restore(value, permutation, node))

    def _restore(
        self, value: ir.Value, permutation: Permutation, before: ir.Node | None
    ) -> ir.Value:
        """A value that holds ``value[:, permutation]``, by a Gather before a node."""
        key = (value, permutation.tobytes())
        if key in self._restored:
            return self._restored[key]
        order = add_initializer(self._graph, f"{value.name}_order", permutation)
        gather = ir.Node(
            "",
            "Gather",
            [value, order],
            ir.convenience.convert_attributes({"axis": 1}),
            name=f"{value.name}_restore",
        )
        result = gather.outputs[0]
        result.name = f"{value.name}_restored"
        result.shape, result.type = value.shape, value.type
        if before is None:
            self._graph.append(gather)
        else:
            self._graph.insert_before(before, gather)
        self._restored[key] = result
        self._count -= 1
        return result


def _inverse(permutation: Permutation) -> Permutation:
    return np.argsort(permutation)


def _is_spatial(node: ir.Node) -> bool:
    """Whether a node treats every channel alike, one by one."""
    if node.op_type in _WITH_AXES:
        axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
        return axes is not None and set(axes.tolist()) <= {2, 3, -1, -2}
    return node.op_type in _SPATIAL and len(node.outputs) == 1


def permutation_of(node: ir.Node) -> Permutation | None:
    """What `node` does to the channels, if that is a permutation and nothing else."""
    if not is_standard(node, "Gather"):
        return None
    axis, order = node.attributes.get("axis"), constant(node.inputs[1])
    if axis is None or axis.as_int() != 1 or order is None or order.ndim != 1:
        return None
    count = channels(node.inputs[0])
    if count != len(order) or sorted(order.tolist()) != list(range(len(order))):
        return None
    return order.astype(np.int64)


def shuffle_to_gather(end: ir.Node, graph: ir.Graph) -> None:
    """Replace the shuffle whose last Reshape is `end`, if it is one, by one Gather.

    ``(1, C, H, W) -> (1, g, C/g, H, W) -> (1, C/g, g, H, W) -> (1, C, H, W)``
    """
    if not is_standard(end, "Reshape"):
        return
    transpose = _producer(end)
    if not is_standard(transpose, "Transpose"):
        return
    assert transpose is not None
    begin = _producer(transpose)
    swaps = tuple(transpose.attributes["perm"].as_ints()) == (0, 2, 1, 3, 4)
    if not swaps or not is_standard(begin, "Reshape"):
        return
    assert begin is not None
    source, split, result = begin.inputs[0], begin.outputs[0], end.outputs[0]
    if source is None or None in (source.shape, split.shape, result.shape):
        return
    assert source.shape is not None
    assert split.shape is not None
    assert result.shape is not None
    count, group, inner = channels(source), *split.shape[1:3]
    if not isinstance(group, int) or not isinstance(inner, int):
        return
    if group * inner != count or list(map(str, source.shape)) != list(
        map(str, result.shape)
    ):
        return
    order = np.arange(count).reshape(group, inner).T.flatten().astype(np.int64)
    gather = ir.Node(
        "",
        "Gather",
        [source, add_initializer(graph, f"{end.name}_order", order)],
        ir.convenience.convert_attributes({"axis": 1}),
        name=end.name,
    )
    new = gather.outputs[0]
    new.name, new.shape, new.type = result.name, result.shape, result.type
    ir.convenience.replace_nodes_and_values(
        graph, end, [end], [gather], [result], [new]
    )
    for node in (transpose, begin):
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)


def _producer(node: ir.Node) -> ir.Node | None:
    value = node.inputs[0]
    return None if value is None else value.producer()


def _reorder_producer(value: ir.Value, order: Permutation) -> bool:
    """Make the dense convolution behind `value` give its channels as ``[order]``.

    Goes back through element-wise nodes and depth-wise convolutions that serve nobody
    else. Changes nothing where that is impossible.

    Args:
        value: What is to be reordered; it has one reader.
        order: New channel k is old channel ``order[k]``.

    Returns:
        Whether it was done.
    """
    convolutions: list[ir.Node] = []
    while only_use(value) is not None:
        node = value.producer()
        if node is None:
            return False
        if has_constant_weights(node):
            convolutions.append(node)
            if groups(node) == 1:
                break
            weight = weight_of(node)
            assert weight is not None
            if groups(node) != len(weight) or weight.shape[1] != 1:
                return False
        elif node.domain != "" or node.op_type not in UNARY:
            return False
        source = node.inputs[0]
        if source is None:
            return False
        value = source
    else:
        return False
    for conv in convolutions:
        weight, bias = weight_of(conv), bias_of(conv)
        assert weight is not None
        set_weights(conv, weight[order], None if bias is None else bias[order])
    return True
