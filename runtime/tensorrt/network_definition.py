"""From an ONNX file to TensorRT's network, or the list of what it refuses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.core.states import StateDtype
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.engine_states import (
    DERAINED,
    FRAME,
    HEALTH,
    StateRange,
    has_health,
)
from derain.runtime.tensorrt.library import Api

if TYPE_CHECKING:
    import tensorrt as trt

# "Assertion failed: condition && "sentence"", of which only the sentence helps.
_ASSERTION = re.compile(r'^.*?Assertion failed: |^\w+ && (?=")')


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedNode:
    """A node that TensorRT's parser does not take.

    Attributes:
        name: Of the node, or ``#12`` by its place in the graph where it has none.
        operator: Its operator.
        reason: What the parser says.
        functions: Names of the calls it is inside of, outermost first.
    """

    name: str
    operator: str
    reason: str
    functions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The node as a JSON object."""
        return {**asdict(self), "functions": list(self.functions)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RefusedNode:
        """The node that `to_json` wrote."""
        return cls(**{**fields, "functions": tuple(fields["functions"])})

    def __str__(self) -> str:
        place = "".join(f" in {name}" for name in reversed(self.functions))
        return f"{self.operator} {self.name}{place}: {self.reason}"


def new_builder(api: Api) -> trt.Builder:
    """A builder.

    Raises:
        EngineError: The library does not start.
    """
    try:
        builder: trt.Builder = api.trt.Builder(api.logger)
    except TypeError as error:  # "factory function returned nullptr"
        reason = "; ".join(api.messages.errors) or str(error)
        raise EngineError(
            f"{api.name} {api.version} does not start: {reason}"
        ) from error
    return builder


def parse(
    api: Api, builder: trt.Builder, model: Path
) -> tuple[trt.INetworkDefinition, list[RefusedNode]]:
    """Parse the ONNX file `model`.

    Returns:
        The network, and every node that was refused. The network is complete only if
        there is none. After one that it cannot build, as against one that it does not
        know, the parser comes to no others.

    Raises:
        EngineError: The file is no ONNX model, or it may loop for ever.
    """
    network: trt.INetworkDefinition = versions.create_network(api, builder)
    parser: trt.OnnxParser = api.trt.OnnxParser(network, api.logger)
    api.messages.node = ("", "")
    if parser.parse_from_file(str(model)):
        _require_bounded(api, network, model)
        return network, []
    errors: list[trt.ParserError] = [
        parser.get_error(index) for index in range(parser.num_errors)
    ]
    refused = [_refused(error, api.messages.node) for error in errors]
    if not any(node.operator for node in refused):
        reasons = [_reason(error) for error in errors] or api.messages.errors
        reason = "; ".join(reasons) or "no reason given"
        raise EngineError(
            f"{model} is not a model that {api.name} {api.version} can read: {reason}"
        )
    return network, refused


def _require_bounded(api: Api, network: trt.INetworkDefinition, model: Path) -> None:
    """Raise where a loop has a condition alone: no kernel that runs can be stopped.

    The parser gives a loop a limit for its number of trips, an integer, and one for its
    condition, a truth value; the bindings know neither their kinds nor their loops.
    """
    layers: list[trt.ILayer] = [
        network.get_layer(index) for index in range(network.num_layers)
    ]
    limits = [
        layer.get_input(0).dtype == api.trt.DataType.BOOL
        for layer in layers
        if layer.type == api.trt.LayerType.TRIP_LIMIT
    ]
    if sum(limits) > len(limits) - sum(limits):
        raise EngineError(
            f"{model} has a loop without an end of its own, which {api.name} cannot "
            "stop; take --backend onnxruntime"
        )


def check_contract(
    api: Api,
    network: trt.INetworkDefinition,
    model: Path,
    states: Sequence[StateRange] = (),
) -> None:
    """Raise unless `network` takes a uint8 NHWC frame and returns one, and its states.

    Args:
        api: The library.
        network: What it made of `model`.
        model: The ONNX file.
        states: What the bundle says that it remembers.

    Raises:
        EngineError: It is a graph of another kind, or one of other states.
    """
    inputs: list[trt.ITensor] = [
        network.get_input(k) for k in range(network.num_inputs)
    ]
    outputs: list[trt.ITensor] = [
        network.get_output(k) for k in range(network.num_outputs)
    ]
    named_in = {tensor.name: tensor for tensor in inputs}
    named_out = {tensor.name: tensor for tensor in outputs}
    frames = named_in.pop(FRAME, None), named_out.pop(DERAINED, None)
    health = named_out.pop(HEALTH, None)
    names = [name.removesuffix("_in") for name in named_in]
    pairs = set(names) == {name.removesuffix("_out") for name in named_out}
    if not (pairs and all(tensor and _is_frame(api, tensor) for tensor in frames)):
        got = ", ".join(map(_described, [*inputs, *outputs])) or "nothing"
        raise EngineError(
            f"{model} is not a graph of derain-export: got {got}, wanted one input "
            f"and one output, {FRAME} and {DERAINED} UINT8 (1, height, width, 3), and "
            "each state as an input and an output, state_0_in and state_0_out"
        )
    for name in names:
        given, returned = named_in[f"{name}_in"], named_out[f"{name}_out"]
        if given.dtype != returned.dtype or not _alike(given, shape_of(returned)):
            raise EngineError(
                f"{model}: a state keeps its shape and type, got {_described(given)} "
                f"in, {_described(returned)} out"
            )
    wanted = [state.name for state in states]
    if sorted(names) != wanted:
        raise EngineError(
            f"{model} has {_listed(sorted(names))}, its manifest {_listed(wanted)}: "
            f"the engine would be compiled {_listed(sorted(names), 'with')}; export "
            "the bundle again"
        )
    for state in states:
        given = named_in[f"{state.name}_in"]
        fits = all(_alike(given, shape) for shape in state.shapes)
        if given.dtype != data_type(api, state.dtype) or not fits:
            raise EngineError(
                f"{model}: got {_described(given)}, its manifest says {state.dtype} "
                f"{state.shapes[0]}; export the bundle again"
            )
    if has_health(states) != (health is not None):
        raise EngineError(
            f"{model}: wanted the output {HEALTH} where states are floating-point "
            "numbers, and only there; export the bundle again"
        )


def data_type(api: Api, dtype: StateDtype) -> trt.DataType:
    """The library's name of a state's type."""
    types = api.trt.DataType
    found: trt.DataType = {
        "float32": types.FLOAT,
        "float16": types.HALF,
        "uint8": types.UINT8,
    }[dtype]
    return found


def _described(tensor: trt.ITensor) -> str:
    return f"{tensor.name} {tensor.dtype.name} {shape_of(tensor)}"


def _alike(tensor: trt.ITensor, shape: Sequence[int]) -> bool:
    """Whether a tensor can have a shape; -1 can become any length."""
    got = shape_of(tensor)
    return len(got) == len(shape) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(got, shape, strict=True)
    )


def _listed(names: Sequence[str], kind: str = "") -> str:
    if not names:
        return f"{kind}out states".strip() if kind else "no states"
    return f"{kind} states {', '.join(names)}".strip()


def shape_of(tensor: trt.ITensor) -> tuple[int, ...]:
    """Lengths of its axes; -1 for one that is left open."""
    dims = tensor.shape
    return tuple(dims[axis] for axis in range(len(dims)))


def arithmetic_types(api: Api, network: trt.INetworkDefinition) -> dict[str, int]:
    """Convolutions and matrix products of a network, by the type they compute in.

    In a strongly typed network that is the type of the result; INT8 where both factors
    were INT8 just before, which the builder makes one kernel of.
    """
    kinds = {
        api.trt.LayerType.CONVOLUTION,
        api.trt.LayerType.DECONVOLUTION,
        api.trt.LayerType.MATRIX_MULTIPLY,
    }
    counts: Counter[str] = Counter()
    dequantized: set[str | None] = set()  # a layer comes after those that it reads
    for index in range(network.num_layers):
        layer: trt.ILayer = network.get_layer(index)
        if layer.type == api.trt.LayerType.DEQUANTIZE:
            dequantized.add(layer.get_output(0).name)
        elif layer.type in kinds:
            name = _TYPES.get(layer.get_output(0).dtype.name, "other")
            counts["int8" if _reads(layer) <= dequantized else name] += 1
    return dict(sorted(counts.items()))


_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}


def _reads(layer: trt.ILayer) -> set[str | None]:
    """Names of the two factors; None for one that is part of the layer."""
    factors: list[trt.ITensor | None] = [
        layer.get_input(k) if k < layer.num_inputs else None for k in range(2)
    ]
    return {None if each is None else each.name for each in factors}


def _is_frame(api: Api, tensor: trt.ITensor) -> bool:
    return tensor.dtype == api.trt.DataType.UINT8 and shape_of(tensor)[::3] == (1, 3)


def _refused(error: trt.ParserError, last: tuple[str, str]) -> RefusedNode:
    stack: Sequence[str] = error.local_function_stack() or ()
    name, operator = error.node_name() or f"#{error.node()}", error.node_operator()
    # Some importers name no node, such as that of ScatterElements: the last one it is.
    if not operator and not re.search("GRAPH|MODEL", str(error.code())):
        name, operator = last
    return RefusedNode(
        name=name,
        operator=operator,
        reason=_reason(error),
        functions=tuple(stack),
    )


def _reason(error: trt.ParserError) -> str:
    text = _ASSERTION.sub("", " ".join(error.desc().split())).strip('"')
    # The condition of a check that always fails.
    return "it has no such operator" if text in ("", "false") else text
