"""The frame contract around a network: uint8 NHWC BGR in, uint8 NHWC BGR out.

Everything between a camera's frame and the network happens in the graph: conversion,
colour order, scaling, padding, cropping, clipping and rounding. TensorRT takes a uint8
input if the first node casts it, and a uint8 output if the last node casts to it; a
cast to uint8 truncates, so rounding and clipping come before.

States go in and out as they are, with the padded frame's size. The frames of a window
are states, too, uint8 as they came: each moves up by one. TensorRT computes nothing in
uint8, so they pass through the casts that the network reads anyway.

A graph of several rows has all of this once for each, see `derain.core.batch_file`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from derain.core.batch_file import of_row
from derain.core.errors import NetworkError
from derain.core.sizes import SizeRange
from derain.core.states import StateSpec
from derain.export.passes.graph_edits import add_initializer
from derain.export.to_onnx import CoreGraph
from derain.models.registry import NetworkFacts

INPUT, OUTPUT, HEALTH = "frame", "derained", "health"
_FLIP = np.array([2, 1, 0], np.int64)


def wrap_frame(core: CoreGraph, facts: NetworkFacts, sizes: SizeRange) -> None:
    """Turn the picture-to-picture graph into a frame-to-frame graph, in place."""
    wrapper = _FrameWrapper(core.model.graph, facts, sizes, core.batch)
    wrapper.wrap(core.memory.states)
    core.model.graph.sort()


class _FrameWrapper:
    def __init__(
        self, graph: ir.Graph, facts: NetworkFacts, sizes: SizeRange, batch: int
    ) -> None:
        self._graph = graph
        self._facts = facts
        self._sizes = sizes
        self._batch = batch
        self._count = 0

    def wrap(self, states: Sequence[StateSpec]) -> None:
        graph = self._graph
        height, width = self._length("height"), self._length("width")
        kept = [state for state in states if state.start == "frame"]
        images = list(graph.inputs[: 1 + len(kept)])
        others = list(graph.inputs[len(images) :])
        frames = self._frames(INPUT)
        earlier = [self._frames(state.input) for state in kept]
        casts = [
            [
                self._op("Cast", [1, height, width, 3], each, to=ir.DataType.FLOAT)
                for each in rows
            ]
            for rows in (*earlier, frames)
        ]
        # Of the cast: TensorRT may refuse a uint8 input that anything but a Cast reads.
        size = self._op(
            "Shape", [2], casts[-1][0], start=1, end=3, dtype=ir.DataType.INT64
        )
        pads = self._pads(size)
        for image, rows in zip(images, casts, strict=True):
            picture = self._picture(self._side_by_side(rows), image, pads)
            image.replace_all_uses_with(picture, replace_graph_outputs=True)
        named = states[len(kept) :]
        given = [
            self._state_inputs(state, value)
            for state, value in zip(named, others, strict=True)
        ]
        inputs = [frames, *earlier, *given]
        graph.inputs[:] = [rows[k] for k in range(self._batch) for rows in inputs]
        derained, *new = graph.outputs
        _require_apart(named, new)
        pictures = self._derained(derained, None if pads is None else size)
        apart = [self._apart(value) for value in new]
        graph.outputs[:] = []
        for row, picture in enumerate(pictures):
            kept_new = [
                self._uint8(cast[row], self._name(state.output, row))
                for state, cast in zip(kept, casts[1:], strict=True)
            ]
            states_new = [
                self._named(
                    self._op("Identity", list(old[row].shape or ()), value[row]),
                    self._name(state.output, row),
                )
                for state, old, value in zip(named, given, apart, strict=True)
            ]
            graph.outputs.extend(
                [
                    self._uint8(picture, self._name(OUTPUT, row)),
                    *kept_new,
                    *states_new,
                ]
            )
            if new:
                healthy = self._health([*kept_new, *states_new])
                graph.outputs.append(self._named(healthy, self._name(HEALTH, row)))

    def _name(self, name: str, row: int) -> str:
        """Of an input or output of a row; of the only one, as it is."""
        return name if self._batch == 1 else of_row(name, row)

    def _frames(self, name: str) -> list[ir.Value]:
        """An input that is a frame, for each row."""
        return [self._frame(self._name(name, row)) for row in range(self._batch)]

    def _state_inputs(self, state: StateSpec, value: ir.Value) -> list[ir.Value]:
        """Inputs for each row, in the place of `value`, which holds all rows."""
        if self._batch == 1:
            value.name = state.input  # one that comes out as it is has a name of both
            return [value]
        shape = ir.Shape([1, *list(value.shape or ())[1:]])
        rows = [
            ir.Value(name=self._name(state.input, row), shape=shape, type=value.type)
            for row in range(self._batch)
        ]
        joined = self._side_by_side(rows)
        value.replace_all_uses_with(joined, replace_graph_outputs=True)
        return rows

    def _side_by_side(self, rows: list[ir.Value]) -> ir.Value:
        if len(rows) == 1:
            return rows[0]
        shape = [len(rows), *list(rows[0].shape or ())[1:]]
        return self._op("Concat", shape, *rows, axis=0)

    def _apart(self, value: ir.Value) -> list[ir.Value]:
        if self._batch == 1:
            return [value]
        shape = [1, *list(value.shape or ())[1:]]
        return self._ops("Split", shape, value, outputs=self._batch, axis=0)

    def _frame(self, name: str) -> ir.Value:
        """An input that is a frame."""
        return ir.Value(
            name=name,
            shape=ir.Shape([1, self._length("height"), self._length("width"), 3]),
            type=ir.TensorType(ir.DataType.UINT8),
        )

    def _picture(self, x: ir.Value, image: ir.Value, pads: ir.Value | None) -> ir.Value:
        """The frame `x`, cast to float, as the network's input `image`."""
        facts, shape = self._facts, list(image.shape or ())
        planes = [self._batch, 3, self._length("height"), self._length("width")]
        x = self._op("Transpose", planes, x, perm=[0, 3, 1, 2])
        if pads is not None:
            x = self._op("Pad", shape, x, pads, mode=facts.pad_mode(self._sizes))
        if facts.colour == "rgb":
            x = self._op("Gather", shape, x, self._constant("flip", _FLIP), axis=1)
        scale = self._constant("scale", np.array(facts.scale, np.float32))
        x = self._op("Mul", shape, x, scale)
        if black := facts.value_range[0]:
            offset = self._constant("black", np.array(black, np.float32))
            x = self._op("Add", shape, x, offset)
        return x

    def _derained(self, y: ir.Value, size: ir.Value | None) -> list[ir.Value]:
        """The network's picture `y` as frames, still floats, cropped to `size`."""
        height, width = self._length("height"), self._length("width")
        planes = [self._batch, 3, height, width]
        if size is not None:
            axes = self._constant("axes", np.array([2, 3], np.int64))
            start = self._constant("start", np.array([0, 0], np.int64))
            y = self._op("Slice", planes, y, start, size, axes)
        black, white = (
            self._constant(name, np.array(value, np.float32))
            for name, value in zip(
                ("black", "white"), self._facts.value_range, strict=True
            )
        )
        levels = self._constant("levels", np.array(1 / self._facts.scale, np.float32))
        y = self._op("Clip", planes, y, black, white)
        if self._facts.value_range[0]:
            y = self._op("Sub", planes, y, black)
        y = self._op("Mul", planes, y, levels)
        y = self._op("Round", planes, y)
        if self._facts.colour == "rgb":
            y = self._op("Gather", planes, y, self._constant("flip", _FLIP), axis=1)
        shape = [self._batch, height, width, 3]
        return self._apart(self._op("Transpose", shape, y, perm=[0, 2, 3, 1]))

    def _uint8(self, y: ir.Value, name: str) -> ir.Value:
        """`y`, of whole numbers, as the output `name`."""
        uint8 = ir.DataType.UINT8
        shape = [1, self._length("height"), self._length("width"), 3]
        return self._named(self._op("Cast", shape, y, to=uint8, dtype=uint8), name)

    def _health(self, states: list[ir.Value]) -> ir.Value:
        """0 while all `states` are finite, or else NaN; no sum can overflow."""
        zero = self._constant("zero", np.array(0, np.float32))
        total: ir.Value | None = None
        for state in states:
            zeros = self._op("Mul", list(state.shape or ()), state, zero)
            one = self._op("ReduceSum", [], zeros, keepdims=0)
            total = one if total is None else self._op("Add", [], total, one)
        assert total is not None
        return self._op("Identity", [], total)

    @staticmethod
    def _named(value: ir.Value, name: str) -> ir.Value:
        value.name = name
        return value

    def _length(self, axis: str) -> int | str:
        low = int(getattr(self._sizes.minimum, axis))
        high = int(getattr(self._sizes.maximum, axis))
        return low if low == high else f"frame_{axis}"

    def _pads(self, size: ir.Value) -> ir.Value | None:
        """How much to pad each end of NCHW: `(8,)` int64, or None for never.

        All axes are named, though two are padded: ONNX Runtime 1.31 moves a Transpose
        across a Pad and then takes the pads of two axes for those of four.
        """
        facts, sizes = self._facts, self._sizes
        if facts.never_pads(sizes):
            return None
        if sizes.is_static:
            right, down, _ = facts.padding(sizes.optimum)
            pads = np.array([0, 0, 0, 0, 0, 0, down, right], np.int64)
            return self._constant("pads", pads)
        unit = facts.multiple_of
        up = np.array(unit - 1, np.int64)
        i64 = ir.DataType.INT64
        units = self._constant("unit", np.array(unit, np.int64))
        full = self._op("Add", [2], size, self._constant("round_up", up), dtype=i64)
        full = self._op("Div", [2], full, units, dtype=i64)
        full = self._op("Mul", [2], full, units, dtype=i64)
        least = self._constant("least", np.array(facts.smallest, np.int64))
        full = self._op("Max", [2], full, least, dtype=i64)
        missing = self._op("Sub", [2], full, size, dtype=i64)
        before = self._constant("before", np.zeros(6, np.int64))
        return self._op("Concat", [8], before, missing, axis=0, dtype=i64)

    def _constant(self, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        return add_initializer(self._graph, f"frame_{name}", array)

    def _op(
        self,
        op_type: str,
        shape: list[Any],
        *inputs: ir.Value | None,
        dtype: ir.DataType = ir.DataType.FLOAT,
        **attributes: Any,
    ) -> ir.Value:
        """Append a node and return its output, of `shape` and `dtype`."""
        return self._ops(op_type, shape, *inputs, dtype=dtype, **attributes)[0]

    def _ops(
        self,
        op_type: str,
        shape: list[Any],
        *inputs: ir.Value | None,
        outputs: int = 1,
        dtype: ir.DataType = ir.DataType.FLOAT,
        **attributes: Any,
    ) -> list[ir.Value]:
        """As `_op`, with several outputs."""
        if outputs > 1:
            attributes["num_outputs"] = outputs
        if "to" in attributes:
            attributes["to"] = int(attributes["to"])
        name = f"frame_{op_type.lower()}_{self._count}"
        self._count += 1
        node = ir.Node(
            "",
            op_type,
            inputs,
            ir.convenience.convert_attributes(attributes),
            name=name,
            num_outputs=outputs,
        )
        for number, output in enumerate(node.outputs):
            output.name = name if outputs == 1 else f"{name}_{number}"
            output.shape, output.type = ir.Shape(shape), ir.TensorType(dtype)
        self._graph.append(node)
        return list(node.outputs)


def _require_apart(states: Sequence[StateSpec], values: list[ir.Value]) -> None:
    """Raise where one tensor would have the names of two outputs."""
    seen: dict[int, str] = {}
    for state, value in zip(states, values, strict=True):
        first = seen.setdefault(id(value), state.name)
        if first != state.name and value.producer() is not None:
            raise NetworkError(
                f"{first} and {state.name} are one tensor; let the network return it "
                "once"
            )
