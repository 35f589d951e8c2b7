"""A calibration applied: the float graph that it was made of becomes INT8."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir

from derain.calibration.calibration_file import Calibration
from derain.calibration.equalization import equalise, find_chains
from derain.calibration.layers import (
    constant,
    find_layers,
    nodes_by_name,
    residual_adds,
    tensor_keys,
)
from derain.calibration.qdq import insert_qdq
from derain.core.errors import CalibrationError


def apply_calibration(calibration: Calibration, model: ir.Model) -> None:
    """Make `model`, a float graph, INT8, in place.

    Raises:
        CalibrationError: It has other convolutions, or is quantised already; or
            something is missing for one in INT8. `model` is as it was then.
    """
    if fingerprint(model) != calibration.graph:
        raise CalibrationError(
            "the calibration is for another graph: network, weights and --target "
            "must be those it was made with; run derain-calibrate again"
        )
    _check_whole(calibration, model)
    tensors = {v: k for k, v in tensor_keys(find_layers(model)).items()}
    factors, means = (
        {tensors[k]: np.asarray(v, np.float32) for k, v in found.items()}
        for found in (calibration.factors, calibration.means)
    )
    ranges = {tensors[k]: reach for k, reach in calibration.ranges.items()}
    equalise(model, factors)
    residuals = {tensors[k] for k in calibration.residuals}
    insert_qdq(model, ranges, set(calibration.int8), means or None, residuals)


def fingerprint(model: ir.Model) -> str:
    """SHA-256 of a float graph's convolutions: names, weights, biases, attributes.

    Pads, the other tensors' names and the order are left out: they follow the frame
    size, odd, even or any, and ranges do not.
    """
    digest = hashlib.sha256()
    nodes = nodes_by_name(model)
    layers = find_layers(model)
    keys = tensor_keys(layers)
    for layer in sorted(layers, key=lambda x: x.name):
        node = nodes[layer.name]
        attributes = sorted(
            (name, str(attribute.value))
            for name, attribute in node.attributes.items()
            if name != "pads"
        )
        digest.update(f"{layer.name} {keys[layer.tensor]} {attributes}\n".encode())
        for value in node.inputs[1:]:
            content = constant(value)
            digest.update(b"" if content is None else content.tobytes())
    return digest.hexdigest()


def _check_whole(made: Calibration, model: ir.Model) -> None:
    """Raise unless there is something for every layer in INT8, and nothing else."""
    layers, nodes, small = find_layers(model), nodes_by_name(model), set(made.int8)
    keys = tensor_keys(layers)
    wrong = [f"layer {x}" for x in made.macs.keys() ^ {x.name for x in layers}]
    for what, found in (("range", made.ranges), ("means", made.means)):
        wrong += [f"{what} of {x}" for x in found.keys() - set(keys.values())]
    adds = {keys[tensor] for tensor in residual_adds(model)}
    wrong += [f"residual of {x}" for x in set(made.residuals) - adds]
    chains = {keys[chain.tensor] for chain in find_chains(model)}
    if made.factors:
        wrong += [f"factors of {x}" for x in made.factors.keys() ^ chains]
    for layer in layers:
        if layer.name not in small:
            continue
        key = keys[layer.tensor]
        if key not in made.ranges:
            wrong.append(f"range of {key}")
        channels = _input_channels(nodes[layer.name])
        if made.means and len(made.means.get(key, ())) != channels:
            wrong.append(f"means of the {channels} channels of {key}")
    if wrong:
        raise CalibrationError(
            f"the calibration is damaged: {sorted(set(wrong))[0]} missing, or not "
            "of this graph; run derain-calibrate again"
        )


def _input_channels(node: ir.Node) -> int:
    weight = constant(node.inputs[1])
    assert weight is not None  # `find_layers` asks for it
    return int(weight.shape[1]) * node.attributes.get_int("group", 1)
