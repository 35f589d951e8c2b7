"""The calibration file: everything that turns one float graph into its INT8 form."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from derain.calibration.equalization import equalise, find_chains
from derain.calibration.layers import (
    constant,
    find_layers,
    nodes_by_name,
    tensor_keys,
)
from derain.calibration.qdq import insert_qdq
from derain.calibration.ranges import LEVELS
from derain.core.errors import CalibrationError

SCHEMA = 3  # 2: factors; 3: tensors by `tensor_keys`
_FARTHEST = LEVELS * float(np.finfo(np.float16).max)  # with a scale that FP16 holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Ranges, the layers that run in INT8, and where both come from.

    Frame sizes do not matter: what was measured at one size is good for any other.
    Tensors are called as `tensor_keys` calls them.

    Attributes:
        graph: Fingerprint of the convolutions it is for; see `fingerprint`.
        method: How ranges were found.
        ranges: How far INT8 reaches, by tensor.
        factors: What channels are divided by before anything else, by tensor; see
            `derain.calibration.equalization`. Ranges and means are of what comes out.
        means: Mean of each channel, by tensor; empty if biases stay as they are.
        int8: Names of the layers in INT8.
        macs: Multiplications of each layer, at the size that was measured.
        curve: Graphs that the gate judged, the last one being this.
        kept: Why layers were not tried in INT8, by name.
        costs: PSNR against FP32 of a layer alone in INT8, in dB, where measured.
        frames: Where the frames came from, how many and their hash.
        tools: Versions of what made it.
        created: UTC date and time, ISO 8601.
    """

    graph: str
    method: str
    ranges: dict[str, float]
    means: dict[str, list[float]]
    int8: tuple[str, ...]
    macs: dict[str, int]
    factors: dict[str, list[float]] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    frames: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Names of the convolutions that stay in floating point."""
        small = set(self.int8)
        return tuple(name for name in self.macs if name not in small)

    @property
    def share(self) -> float:
        """Part of the convolutions' multiplications in INT8, in [0, 1]."""
        return sum(self.macs[name] for name in self.int8) / sum(self.macs.values())

    def apply(self, model: ir.Model) -> None:
        """Make `model`, a float graph, INT8, in place.

        Raises:
            CalibrationError: It has other convolutions, or is quantised already; or
                something is missing here for one in INT8. `model` is as it was then.
        """
        if fingerprint(model) != self.graph:
            raise CalibrationError(
                "the calibration is for another graph: network, weights and --target "
                "must be those it was made with; run derain-calibrate again"
            )
        self._check_whole(model)
        tensors = {v: k for k, v in tensor_keys(find_layers(model)).items()}
        factors = {
            tensors[k]: np.asarray(v, np.float32) for k, v in self.factors.items()
        }
        means = {tensors[k]: np.asarray(v, np.float32) for k, v in self.means.items()}
        ranges = {tensors[k]: reach for k, reach in self.ranges.items()}
        equalise(model, factors)
        insert_qdq(model, ranges, set(self.int8), means or None)

    def _check_whole(self, model: ir.Model) -> None:
        """Raise unless there is something for every layer in INT8, and nothing else."""
        layers, nodes, small = find_layers(model), nodes_by_name(model), set(self.int8)
        keys = tensor_keys(layers)
        wrong = [f"layer {x}" for x in self.macs.keys() ^ {x.name for x in layers}]
        for what, found in (("range", self.ranges), ("means", self.means)):
            wrong += [f"{what} of {x}" for x in found.keys() - set(keys.values())]
        chains = {keys[chain.tensor] for chain in find_chains(model)}
        if self.factors:
            wrong += [f"factors of {x}" for x in self.factors.keys() ^ chains]
        for layer in layers:
            if layer.name not in small:
                continue
            key = keys[layer.tensor]
            if key not in self.ranges:
                wrong.append(f"range of {key}")
            channels = _input_channels(nodes[layer.name])
            if self.means and len(self.means.get(key, ())) != channels:
                wrong.append(f"means of the {channels} channels of {key}")
        if wrong:
            raise CalibrationError(
                f"the calibration is damaged: {sorted(set(wrong))[0]} missing, or not "
                "of this graph; run derain-calibrate again"
            )

    def to_json(self) -> dict[str, Any]:
        """The calibration as the JSON object that is written to disk."""
        return {"schema": SCHEMA, **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the calibration to `path`, whole or not at all.

        Raises:
            CalibrationError: It cannot be written.
        """
        write_json(path, self.to_json())

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Calibration:
        """The calibration that `to_json` made; unknown fields are left out."""
        known = {k: v for k, v in fields.items() if k in cls.__dataclass_fields__}
        known["int8"] = tuple(known["int8"])
        return cls(**known)

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """The calibration in `path`.

        Raises:
            CalibrationError: The file is missing, damaged or of another version.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            schema = fields.pop("schema")
            if schema != SCHEMA:
                raise ValueError(f"schema {schema}, this version reads {SCHEMA}")
            made = cls.from_json(fields)
            _check(made)
        except OSError as error:
            raise CalibrationError(
                f"{path} cannot be read: {error.strerror}; make one with "
                "derain-calibrate"
            ) from error
        except _DAMAGED as error:
            raise CalibrationError(
                f"{path} is not a calibration file ({error}); make one with "
                "derain-calibrate"
            ) from error
        return made


# What reading a file of another form ends in.
_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def _check(made: Calibration) -> None:
    """Raise one of `_DAMAGED` where `made` makes no sense for any graph."""
    if not set(made.int8) <= made.macs.keys() or not made.int8:
        raise ValueError("layers in INT8 are not those of the graph")
    if not all(isinstance(n, int) and n > 0 for n in made.macs.values()):
        raise ValueError("multiplications are not numbers above 0")
    for tensor, reach in made.ranges.items():
        if not 0 <= reach <= _FARTHEST:
            raise ValueError(f"the range of {tensor} is {reach}")
    for tensor, factors in made.factors.items():
        if not (_finite(factors) and min(factors) > 0):
            raise ValueError(f"a factor of {tensor} is not a number above 0")
    for tensor, means in made.means.items():
        if not _finite(means):
            raise ValueError(f"a mean of {tensor} is not a number")
    for layer, cost in made.costs.items():
        if not _finite([cost]):
            raise ValueError(f"the cost of {layer} is {cost}")
    for step in made.curve:
        drop = step["drop_db"]
        if not _finite([step["psnr_db"], 0.0 if drop is None else drop]):
            raise ValueError("the curve has a step that is not a number")


def _finite(values: list[float]) -> bool:
    """Whether FP32 holds all `values`, a list of numbers."""
    most = float(np.finfo(np.float32).max)
    return isinstance(values, list) and all(abs(x) <= most for x in values)


class RefusedError(CalibrationError):
    """INT8 is possible, but not good enough.

    Attributes:
        calibration: What was measured, with the last curve's layers; not to be used.
    """

    def __init__(self, message: str, calibration: Calibration) -> None:
        super().__init__(message)
        self.calibration = calibration


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


def _input_channels(node: ir.Node) -> int:
    weight = constant(node.inputs[1])
    assert weight is not None  # `find_layers` asks for it
    return int(weight.shape[1]) * node.attributes.get_int("group", 1)


def write_json(path: Path, fields: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        CalibrationError: It cannot be written.
    """
    write_file(path, (json.dumps(fields, indent=1) + "\n").encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        CalibrationError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise CalibrationError(f"{path} cannot be written: {error.strerror}") from error
