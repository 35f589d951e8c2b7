"""Bytes of every network's engines by target and precision: the record of the tables.

``derain-bench byte-table NETWORK...`` writes graphs as ``derain-export`` does, with
random weights, and compiles them with TensorRT-RTX, which needs no GPU. What kernels
move does not depend on weights or ranges, so nothing is calibrated: in INT8 are all
layers that may be, and residuals with them, as accuracy control begins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from derain.benchmarks.analysis.graph_counts import count_graph
from derain.calibration.layers import find_layers, residual_adds
from derain.calibration.qdq import insert_qdq, part_biases
from derain.core.atomic_files import write_text
from derain.core.errors import BenchmarkError, DerainError
from derain.core.manifest import Precision
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size, SizeRange
from derain.export.fp16 import to_fp16
from derain.export.frame_graph import wrap_frame
from derain.export.operators.lowering import lower_operators
from derain.export.pass_choice import PassRow, states_of
from derain.export.passes import optimize
from derain.export.passes.cleanup import remove_dead
from derain.export.passes.int8_groups import make_int8_groups_dense
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.loading import open_network
from derain.runtime.tensorrt.engine_bytes import NEAREST_TO_ORIN, measure_engine_bytes

_log = logging.getLogger(__name__)

TARGETS: tuple[PassRow, ...] = ("any", "tensorrt")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_OPSET = 20


@dataclass(frozen=True, slots=True)
class MovedBytes:
    """What one engine moves a frame.

    Attributes:
        kernels: How many it has.
        gigabytes: Read and written by them.
    """

    kernels: int
    gigabytes: float


def measure_networks(names: Sequence[str], size: Size, path: Path) -> dict[str, Any]:
    """Compile networks in all precisions, and put their figures into a record.

    Args:
        names: Names in the registry, or ``package.module:Class``.
        size: Of the frames.
        path: The record; what it holds of other networks stays, and it is written after
            every network.

    Returns:
        The record.

    Raises:
        BenchmarkError: The record is none, or of another size.
        DerainError: A network cannot be opened or exported. Of one whose engine cannot
            be compiled the record says why.
    """
    record = _open(path, size)
    for name in names:
        networks: dict[str, Any] = record["networks"]
        entry = networks.setdefault(name, {"targets": {}})
        core = _core(name, size)
        entry["kmac_per_px"] = _kmac(core, size)
        found, version = _measure(name, core, size)
        for target, engines in found.items():
            entry["targets"].setdefault(target, {}).update(engines)
        if version:
            record["compiler"] = f"TensorRT-RTX {version}"
        write_text(path, json.dumps(record, indent=1) + "\n")
    return record


def _open(path: Path, size: Size) -> dict[str, Any]:
    if not path.exists():
        return {
            "schema": 2,
            "kind": "computed from the compiled kernels",
            "compiler": "TensorRT-RTX",
            "compute_capability": NEAREST_TO_ORIN,
            "size": str(size),
            "command": f"derain-bench byte-table NETWORK --size {size}",
            "networks": {},
        }
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        there, _ = record["size"], record["networks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is no record of bytes: {error}") from error
    if there != str(size):
        raise BenchmarkError(f"{path} is of frames of {there}, not {size}")
    return record


def _measure(
    name: str, core: CoreGraph, size: Size
) -> tuple[dict[str, dict[str, Any]], str]:
    """Figures by target and precision, and the version of the compiler."""
    found: dict[str, dict[str, Any]] = {}
    version = ""
    for target in TARGETS:
        engines = found.setdefault(target, {})
        for precision in PRECISIONS:
            _log.info(f"{name}, target {target}, {precision}")
            try:
                with ScratchFolder(prefix="derain-bytes-") as folder:
                    path = Path(folder) / "model.onnx"
                    _write(core, target, precision, path)
                    engine = measure_engine_bytes(
                        path,
                        precision,
                        size,
                        "tensorrt-rtx",
                        states_of(core.memory, size, half=precision != "fp32"),
                    )
            except DerainError as error:
                _log.warning("%s, target %s, %s: %s", name, target, precision, error)
                engines[precision] = {"missing": str(error).splitlines()[0]}
                continue
            version = engine.version
            moved = MovedBytes(len(engine.kernels), round(engine.moved_bytes / 1e9, 3))
            engines[precision] = asdict(moved)
    return found, version


def _core(name: str, size: Size) -> CoreGraph:
    sizes = SizeRange.static(size)
    loaded = open_network(name, weights=None, random_weights=True, facts=None)
    core = to_onnx(loaded.video or loaded.network, loaded.facts, sizes, _OPSET)
    wrap_frame(core, loaded.facts, sizes)
    return core


def _write(core: CoreGraph, target: PassRow, precision: Precision, path: Path) -> None:
    """Write the graph of a bundle; `core` stays as it is."""
    model = core.model.clone()
    optimize(model, target)
    if precision == "int8":
        _to_int8(model)
        if target == "tensorrt":
            make_int8_groups_dense(model)
    if precision != "fp32":
        to_fp16(model, set())
        part_biases(model)
    remove_dead(model)
    lower_operators(model, target, core.maps)
    onnx.save(ir.to_proto(model), path)


def _to_int8(model: ir.Model) -> None:
    layers = [layer for layer in find_layers(model) if not layer.stays]
    # All different: a compiler joins what has one range, as few tensors do.
    tensors = dict.fromkeys(layer.tensor for layer in layers)
    ranges = {tensor: 1 + index / 2**12 for index, tensor in enumerate(tensors)}
    names = {layer.name for layer in layers}
    insert_qdq(model, ranges, names, residuals=residual_adds(model).keys())


def _kmac(core: CoreGraph, size: Size) -> float:
    """Thousand multiply-accumulates a pixel, of the graph for TensorRT."""
    with ScratchFolder(prefix="derain-bytes-") as folder:
        path = Path(folder) / "model.onnx"
        _write(core, "tensorrt", "fp16", path)
        macs = count_graph(path).macs
    return round(macs / size.pixels / 1e3, 2)
