"""Cross-layer equalisation: the channels of a tensor brought to one reach, for free.

Between two convolutions with at most a ReLU between them, a channel may be divided by
any positive number in the weights of the first and multiplied by it in those of the
second: the network computes what it did. One scale serves all channels of a quantised
tensor, so those that reach equally far lose least.

After Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 4.1; the first reach is that of
the tensor on frames here, not that of weights, which have a scale per channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.layers import (
    add_initializer,
    constant,
    find_layers,
    nodes_by_name,
    values_by_name,
)
from derain.calibration.observer_outputs import ObserverOutputs
from derain.calibration.session import GraphSession, Shot
from derain.core.errors import CalibrationError

# Positively homogeneous: a channel's positive factor goes through.
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})
_LEAST = 1e-3  # of the greatest: a channel that is silent on the frames may not be
# FP16 holds the factors' products with weights of any sane size.
_LARGEST = 32.0

Factors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Chain:
    """A tensor whose channels can be scaled.

    Attributes:
        tensor: Its name; convolutions alone read it.
        first: Name of the convolution that it comes from.
        readers: Names of the convolutions that read it.
    """

    tensor: str
    first: str
    readers: tuple[str, ...]


def find_chains(model: ir.Model) -> tuple[Chain, ...]:
    """The tensors of a float graph whose channels can be scaled, in its order.

    Weights that several convolutions share each get their own in INT8 in any case.
    """
    found = find_layers(model)
    layers = {x.name for x in found}
    results = set(model.graph.outputs)
    values = values_by_name(model)
    chains = []
    for tensor in dict.fromkeys(x.tensor for x in found):
        value = values[tensor]
        readers = tuple(str(node.name) for node in _readers(value))
        first = None if value in results else _source(value, results)
        if first is not None and {str(first.name), *readers} <= layers:
            chains.append(Chain(tensor, str(first.name), readers))
    return tuple(chains)


def find_factors(model: ir.Model, shots: Iterable[Shot]) -> Factors:
    """What to divide the channels of each chain's tensor by.

    A depth-wise reader's weights have a scale of their own for each channel, so the
    channels become equal; elsewhere half of the inequality goes into the weights.

    Args:
        model: A float graph.
        shots: Frames to look at.

    Returns:
        `(C,)` float32 by the tensor's name, of geometric mean 1 but for the limits.
    """
    chains = find_chains(model)
    if not chains:
        return {}
    nodes = nodes_by_name(model)
    reach = _reach(model, [chain.tensor for chain in chains], shots)
    factors = {}
    for chain in chains:
        seen = _floor(reach[chain.tensor])
        readers = [_weights(nodes[name]) for name in chain.readers]
        if all(weights.shape[1] == 1 for weights in readers):  # depth-wise
            factor = seen
        else:
            used = [_used(weights, len(seen)) for weights in readers]
            factor = np.sqrt(seen / _floor(np.max(used, axis=0)))
        factor = factor / np.exp(np.mean(np.log(factor)))
        factor = np.clip(factor, 1 / _LARGEST, _LARGEST)
        factors[chain.tensor] = factor.astype(np.float32)
    return factors


def equalise(model: ir.Model, factors: Factors) -> None:
    """Divide the channels of tensors by `factors`, in place.

    Args:
        model: The float graph that `find_factors` saw, of any size.
        factors: `(C,)` for each chain's tensor.

    Raises:
        CalibrationError: They are not for this graph.
    """
    nodes = nodes_by_name(model)
    for chain in find_chains(model):
        if chain.tensor not in factors:
            continue
        factor = np.asarray(factors[chain.tensor], np.float32)
        first = nodes[chain.first]
        channels = len(_weights(first))
        if factor.shape != (channels,):
            raise CalibrationError(
                f"{chain.tensor} has {channels} channels, the calibration factors for "
                f"{factor.size}; run derain-calibrate again"
            )
        _replace(first, 1, _weights(first) / factor[:, None, None, None])
        bias = constant(first.inputs[2]) if len(first.inputs) > 2 else None
        if bias is not None:
            _replace(first, 2, bias / factor)
        for name in chain.readers:
            reader = nodes[name]
            weights = _weights(reader)
            groups = len(factor) // weights.shape[1]
            split = weights.reshape(groups, -1, *weights.shape[1:])
            scaled = split * factor.reshape(groups, 1, -1, 1, 1)
            _replace(reader, 1, scaled.reshape(weights.shape))


def _readers(value: ir.Value) -> list[ir.Node]:
    """What reads numbers of `value`: in a graph of any size some ask its shape alone.

    A node counts once for each input that it is.
    """
    return [use.node for use in value.uses() if use.node.op_type != "Shape"]


def _source(value: ir.Value, results: set[ir.Value]) -> ir.Node | None:
    """The convolution that `value` is the result of, but for a ReLU; or None."""
    node = value.producer()
    while node is not None and node.op_type in _HOMOGENEOUS and not node.domain:
        inner = node.inputs[0]
        if inner is None or inner in results or len(_readers(inner)) > 1:
            return None
        node = inner.producer()
    if node is None or node.op_type != "Conv" or node.domain:
        return None
    computed = len(node.inputs) > 2 and node.inputs[2] is not None
    return None if computed and constant(node.inputs[2]) is None else node


def _reach(
    model: ir.Model, tensors: list[str], shots: Iterable[Shot]
) -> dict[str, NDArray[np.float64]]:
    """Greatest magnitude of each channel of `tensors` over `shots`, `(C,)` each."""
    copy = model.clone()
    values = values_by_name(copy)
    outputs = ObserverOutputs(copy)
    for index, tensor in enumerate(tensors):
        outputs.largest(f"{index}", values[tensor])
    outputs.finish()
    session = GraphSession(copy)
    reach: dict[str, NDArray[np.float64]] = {}
    for shot in shots:
        for name, ends in session.run(*shot).items():
            tensor = tensors[int(name.split("_")[0])]
            found = ends.reshape(-1).astype(np.float64)
            reach[tensor] = np.maximum(reach.get(tensor, 0.0), found)
    return reach


def _used(weights: NDArray[np.float32], channels: int) -> NDArray[np.float64]:
    """How much of each of its `channels` a convolution uses, `(C,)` in [0, 1].

    Relative to what an output channel uses most, which sets the scale of its weights.
    """
    taps = np.abs(weights).max(axis=(2, 3)).astype(np.float64)  # (O, C/groups)
    taps /= np.maximum(taps.max(axis=1, keepdims=True), 1e-30)
    inputs = weights.shape[1]
    split = taps.reshape(channels // inputs, -1, inputs)
    return np.asarray(split.max(axis=1).reshape(-1), np.float64)


def _floor(reach: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(reach, max(float(reach.max()) * _LEAST, 1e-30))


def _weights(node: ir.Node) -> NDArray[np.float32]:
    weights = constant(node.inputs[1])
    assert weights is not None  # `find_layers` asks for it
    return weights


def _replace(node: ir.Node, index: int, array: NDArray[np.float32]) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    kind = ("", "weight", "bias")[index]
    name = f"{node.name}_{kind}_equalised"
    while name in graph.initializers:  # first of one chain, reader of another
        name += "_too"
    value = add_initializer(graph, name, np.asarray(array, np.float32))
    node.replace_input_with(index, value)
