"""FP16 in the file: half-precision tensors, and the few nodes that stay in FP32.

`search_fp16` decides by measuring which those are.

TensorRT 10.3 to 11 take the precision from the ONNX file (strongly typed networks), so
the graph itself is converted. ONNX Runtime has no FP16 kernels for the processor: it
runs such a graph in FP32 and rounds almost nothing, so comparing that with PyTorch
would prove nothing. `emulate_fp16` therefore makes a third graph, FP32 with every
tensor rounded to FP16 where the FP16 graph has one, as a GPU that accumulates in FP32
does.

States are in FP16 on both sides of the graph, whichever node makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from derain.core.batch_file import without_row
from derain.core.errors import ExportError
from derain.core.frame_tensors import Frame
from derain.core.scratch import ScratchFolder
from derain.export.frame_graph import HEALTH
from derain.export.operators.lowering import lower_operators
from derain.export.passes.graph_edits import add_initializer, like
from derain.export.to_onnx import CoreGraph
from derain.export.verify import GraphComparison, compare, run_graph

_SINGLE, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_HALF_MAX = float(np.finfo(np.float16).max)

# Inputs that the standard wants in FP32 (or in another type) whatever the data is.
_DATA_INPUTS = {"Resize": 1, "Upsample": 1}

# Where a position is computed from what is not one.
_MAKE_FEATURES = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "ShuffleUnit"})
_POOLS = frozenset({"AveragePool", "MaxPool"})

# Convolutions carry the work; the kernel of a unit takes FP16 alone.
_IN_FP16 = frozenset({"Conv", "ShuffleUnit"})

# Above this nothing is gained that an eye, or a PSNR against the truth, could see: the
# papers' pictures are 25 to 40 dB from the truth.
ENOUGH_DB = 55.0


@dataclass(frozen=True, slots=True)
class Fp16Choice:
    """What was decided, and how close the graph then is to PyTorch in FP32.

    Attributes:
        keep_fp32: Names of the nodes that stay in FP32.
        comparison: With every other tensor rounded to FP16; None for an FP32 graph.
        types: The operators that those nodes are.
    """

    keep_fp32: frozenset[str] = frozenset()
    comparison: GraphComparison | None = None
    types: frozenset[str] = frozenset()


def search_fp16(
    core: CoreGraph, frames: Sequence[Frame], wanted: Sequence[Frame]
) -> Fp16Choice:
    """Keep as little as possible in FP32.

    Everything goes to FP16 if the picture then is within `ENOUGH_DB` of PyTorch's.
    Otherwise the operator types are tried one by one, the one that helps most stays in
    FP32, and so on until that is reached or nothing helps.

    Args:
        core: The frame-to-frame graph in FP32, without bodies of operators.
        frames: What to measure on.
        wanted: What PyTorch makes of them.
    """
    kept = positions(core.model)
    groups = _groups(core.model, kept)
    types: set[str] = set()
    best = _measure(core, kept, frames, wanted)
    while best.psnr_db < ENOUGH_DB and groups:
        trials = {
            name: _measure(core, kept | nodes, frames, wanted)
            for name, nodes in groups.items()
        }
        name = max(trials, key=lambda k: trials[k].psnr_db)
        if trials[name].psnr_db < best.psnr_db + 0.1:
            break
        kept |= groups.pop(name)
        types.add(name)
        best = trials[name]
    return Fp16Choice(kept, best, frozenset(types))


def nodes_of_types(model: ir.Model, types: Set[str]) -> frozenset[str]:
    """Names of the nodes of another graph that stay in FP32; `Fp16Choice.types`."""
    kept = positions(model)
    groups = _groups(model, kept)
    return kept.union(*(groups.get(each, frozenset()) for each in types))


def positions(model: ir.Model) -> frozenset[str]:
    """Names of the nodes that compute where GridSample looks, and of those themselves.

    They stay in FP32: one step of FP16 below 1 is a third of a pixel of 1280 columns,
    and the products of small differences that motion is found by are below its least
    number. From the grid back to convolutions, matrix products and pools that make a
    picture smaller: what those give is as good in FP16 as elsewhere. And without what
    convolutions read, too. TensorRT wants picture and grid of one type.
    """
    samplers = [node for node in model.graph if node.op_type == "GridSample"]
    found = _before([node.inputs[1] for node in samplers], lambda node: node.inputs)
    work = [node for node in model.graph if node.op_type in _MAKE_FEATURES]
    shared = _before(
        [value for node in work for value in node.inputs],
        lambda node: node.inputs[: 1 if node.op_type == "GridSample" else None],
    )
    kept = found - shared | set(samplers)
    return frozenset(str(node.name) for node in kept)


def _before(
    values: Sequence[ir.Value | None],
    inputs: Callable[[ir.Node], Sequence[ir.Value | None]],
) -> set[ir.Node]:
    """The nodes that `values` come from, back to what makes features."""
    found: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        node = None if value is None else value.producer()
        if node is None or node in found or node.op_type in _MAKE_FEATURES:
            continue
        if node.op_type in _POOLS and _makes_smaller(node):
            continue
        found.add(node)
        waiting += inputs(node)
    return found


def _makes_smaller(node: ir.Node) -> bool:
    strides = node.attributes.get("strides")
    return strides is not None and max(strides.as_ints()) > 1


def _groups(model: ir.Model, kept: Set[str]) -> dict[str, frozenset[str]]:
    """Names of the nodes by operator type, but of those that are to be in FP16."""
    groups: dict[str, set[str]] = {}
    for node in model.graph:
        if node.op_type in _IN_FP16 or node.name in kept:
            continue
        if any(output.dtype == ir.DataType.FLOAT for output in node.outputs):
            groups.setdefault(node.op_type, set()).add(str(node.name))
    return {name: frozenset(nodes) for name, nodes in groups.items()}


def _measure(
    core: CoreGraph,
    keep_fp32: frozenset[str],
    frames: Sequence[Frame],
    wanted: Sequence[Frame],
) -> GraphComparison:
    model = core.model.clone()
    emulate_fp16(model, keep_fp32)
    lower_operators(model, "any", core.maps, rounded=lambda name: name not in keep_fp32)
    with ScratchFolder() as folder:
        path = Path(folder) / "emulated.onnx"
        ir.save(model, path)
        return compare(run_graph(path, frames, core.memory), wanted)


def to_fp16(model: ir.Model, keep_fp32: Set[str]) -> None:
    """Convert a graph from FP32 to FP16, in place.

    Args:
        model: A graph whose ``derain`` nodes have no bodies yet.
        keep_fp32: Names of the nodes that go on computing in FP32.

    Raises:
        ExportError: A weight does not fit FP16, which ends at 65504.
    """
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph = model.graph
    for given in graph.inputs:  # states
        if given.dtype == _SINGLE:
            given.type = ir.TensorType(_HALF)
    halves: dict[ir.Value, ir.Value] = {}
    singles: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        kept = _is_kept(node, keep_fp32)
        for index, value in enumerate(node.inputs[: _data_inputs(node)]):
            if value is None or value.dtype not in (_SINGLE, _HALF):
                continue
            if kept and value.dtype == _HALF:
                new = _cast(graph, value, _SINGLE, singles, node)
            elif not kept and value.dtype == _SINGLE:
                new = _half_of(graph, value, halves, node)
            else:
                continue
            node.replace_input_with(index, new)
        if not kept:
            _make_outputs_half(node)
    for index, made in enumerate(list(graph.outputs)):
        wanted = _SINGLE if without_row(str(made.name)) == HEALTH else _HALF
        if made.dtype in (_SINGLE, _HALF) and made.dtype != wanted:
            name, made.name = made.name, f"{made.name}_inside"
            cast = ir.Node("", "Cast", [made], [ir.AttrInt64("to", int(wanted))])
            graph.append(cast)
            graph.outputs[index] = like(cast.outputs[0], made, str(name))
            graph.outputs[index].type = ir.TensorType(wanted)


def emulate_fp16(model: ir.Model, keep_fp32: Set[str]) -> None:
    """Round every tensor of an FP32 graph as FP16 would hold it, in place.

    Args:
        model: A graph whose ``derain`` nodes have no bodies yet.
        keep_fp32: Names of the nodes whose results are not rounded; states are.
    """
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph = model.graph
    rounded: dict[ir.Value, ir.Value] = {}
    states = {id(v) for v in graph.outputs if v.dtype == _SINGLE and v.name != HEALTH}
    for node in list(graph):
        kept = _is_kept(node, keep_fp32)
        for output in node.outputs:
            if output.dtype == _SINGLE and (not kept or id(output) in states):
                _round(graph, node, output)
        if kept:
            continue
        for index, value in enumerate(node.inputs[: _data_inputs(node)]):
            if value is not None and value.dtype == _SINGLE and value.is_initializer():
                if value not in rounded:
                    array = _half_array(value).astype(np.float32)
                    name = f"{value.name}_rounded"
                    rounded[value] = add_initializer(graph, name, array)
                node.replace_input_with(index, rounded[value])


def _is_kept(node: ir.Node, keep_fp32: Set[str]) -> bool:
    """Whether a node stays in FP32: loops do, whose bodies are graphs of their own."""
    loops = any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())
    return loops or node.name in keep_fp32


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    uses = list(value.uses())
    down = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(_HALF))])
    half = like(down.outputs[0], value, f"{value.name}_half")
    half.type = ir.TensorType(_HALF)
    up = ir.Node("", "Cast", [half], [ir.AttrInt64("to", int(_SINGLE))])
    single = like(up.outputs[0], value, f"{value.name}_single")
    graph.insert_after(node, [down, up])
    for use in uses:
        use.node.replace_input_with(use.idx, single)
    for index, given in enumerate(list(graph.outputs)):
        if given is value:
            name = str(value.name)
            value.name, single.name = f"{name}_inside", name
            graph.outputs[index] = single


def _data_inputs(node: ir.Node) -> int:
    return _DATA_INPUTS.get(node.op_type, len(node.inputs))


def _half_of(
    graph: ir.Graph, value: ir.Value, halves: dict[ir.Value, ir.Value], user: ir.Node
) -> ir.Value:
    if not value.is_initializer():
        return _cast(graph, value, _HALF, halves, user)
    if value not in halves:
        halves[value] = add_initializer(graph, f"{value.name}_half", _half_array(value))
    return halves[value]


def _half_array(value: ir.Value) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    assert value.const_value is not None
    array = value.const_value.numpy()
    largest = float(np.max(np.abs(array), initial=0))
    if not largest <= _HALF_MAX:
        raise ExportError(
            f"{value.name}: {largest:.3g} does not fit FP16, which ends at "
            f"{_HALF_MAX:.0f}; export with --fp32"
        )
    return array.astype(np.float16)


def _cast(
    graph: ir.Graph,
    value: ir.Value,
    to: ir.DataType,
    made: dict[ir.Value, ir.Value],
    user: ir.Node,
) -> ir.Value:
    if value not in made:
        suffix = "half" if to == _HALF else "single"
        name = f"{value.name}_{suffix}"
        node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(to))], name=name)
        made[value] = like(node.outputs[0], value, name)
        made[value].type = ir.TensorType(to)
        producer = value.producer()
        if producer is None:
            graph.insert_before(user, node)
        else:
            graph.insert_after(producer, node)
    return made[value]


def _make_outputs_half(node: ir.Node) -> None:
    for output in node.outputs:
        if output.dtype == _SINGLE:
            output.type = ir.TensorType(_HALF)
    if node.op_type == "Cast" and node.attributes["to"].as_int() == _SINGLE:
        node.attributes["to"] = ir.AttrInt64("to", int(_HALF))
    if node.op_type == "ConstantOfShape" and "value" in node.attributes:
        tensor = node.attributes["value"].as_tensor()
        if tensor.dtype == _SINGLE:
            half = ir.tensor(tensor.numpy().astype(np.float16))
            node.attributes["value"] = ir.AttrTensor("value", half)
