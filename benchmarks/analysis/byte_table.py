"""Bytes of every network's engines by target and precision: the record of the tables.

``python -m derain.benchmarks.analysis.byte_table NETWORK...`` compiles the graphs of
`derain.export.byte_graphs` with TensorRT-RTX, which needs no GPU.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from derain.benchmarks.analysis.graph_counts import count_graph
from derain.core.atomic_files import write_text
from derain.core.commands import SIZE, Command
from derain.core.errors import BenchmarkError, EngineError
from derain.core.manifest import Precision
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size
from derain.export.byte_graphs import core_of, write_graph
from derain.export.pass_choice import PassRow, states_of
from derain.export.to_onnx import CoreGraph
from derain.runtime.tensorrt.engine_bytes import (
    NEAREST_TO_ORIN,
    EngineBytes,
    measure_engine_bytes,
)

COMMAND = "python -m derain.benchmarks.analysis.byte_table"

_log = logging.getLogger(__name__)

# What is wanted first comes first: large networks take minutes an engine.
TARGETS: tuple[PassRow, ...] = ("tensorrt", "any")
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8", "fp32")


def measure_networks(
    names: Sequence[str],
    size: Size,
    path: Path,
    targets: Sequence[PassRow] = TARGETS,
    precisions: Sequence[Precision] = PRECISIONS,
) -> dict[str, Any]:
    """Compile networks, and put what their engines move into a record.

    Args:
        names: In the registry, or ``package.module:Class``.
        size: Of the frames.
        path: The record. What it holds besides stays, and it is written after every
            engine.
        targets: What graphs are written for.
        precisions: What they are in.

    Returns:
        The record. Of a graph that TensorRT-RTX cannot compile it says why.

    Raises:
        BenchmarkError: The record is none, or of another size.
        DerainError: A network cannot be opened or exported.
    """
    record = _open(path, size)
    for name in names:
        entry = record["networks"].setdefault(name, {"targets": {}})
        core = core_of(name, size)
        for target in targets:
            engines = entry["targets"].setdefault(target, {})
            for precision in precisions:
                _log.info(f"compiling {name}, target {target}, {precision}")
                macs, engine = _compiled(core, target, precision, size)
                if isinstance(engine, str):
                    engines[precision] = {"missing": engine}
                else:
                    record["compiler"] = f"TensorRT-RTX {engine.version}"
                    engines[precision] = {
                        "kernels": len(engine.kernels),
                        "gigabytes": round(engine.moved_bytes / 1e9, 3),
                    }
                if target == "tensorrt":
                    entry["kmac_per_px"] = round(macs / size.pixels / 1e3, 2)
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
            "command": f"{COMMAND} NETWORK... --size {size}",
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


def _compiled(
    core: CoreGraph, target: PassRow, precision: Precision, size: Size
) -> tuple[int, EngineBytes | str]:
    """Multiply-accumulates, and the engine, or why there is none."""
    with ScratchFolder(prefix="derain-bytes-") as folder:
        path = Path(folder) / "model.onnx"
        write_graph(core, target, precision, path)
        macs = count_graph(path).macs
        states = states_of(core.memory, size, half=precision != "fp32")
        try:
            engine = measure_engine_bytes(path, precision, size, "tensorrt-rtx", states)
        except EngineError as error:
            _log.warning("not compiled: %s", error)
            return macs, str(error).splitlines()[0]
    return macs, engine


@click.command(cls=Command)
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK...")
@click.option("--size", type=SIZE, default="1280x720", show_default=True)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="bytes.json",
    show_default=True,
    help="The record: what it holds of other networks stays.",
)
def main(networks: tuple[str, ...], size: Size, output: Path) -> None:
    """Compile networks for both targets in three precisions, and record their bytes.

    NETWORK is a name, or package.module:Class; weights are random, nothing is
    calibrated. The record of the project is in benchmarks/results/bytes.
    """
    record = measure_networks(networks, size, output)
    for name in networks:
        for target, engines in record["networks"][name]["targets"].items():
            for precision, found in engines.items():
                moved = found.get("missing") or f"{found['gigabytes']:.3f} GB"
                click.echo(f"{name}, {target}, {precision}: {moved}")


if __name__ == "__main__":
    main()
