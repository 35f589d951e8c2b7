"""Tables of all networks, for the documents: what each costs, and what it is good for.

From the records of the weights that ship (``models/weights``), of ``derain-bench``, and
of the bytes that compiled kernels move (``benchmarks/results/bytes``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from derain.benchmarks.analysis.limits import (
    ARITHMETIC_REACHED,
    BANDWIDTH_REACHED,
    JETSONS,
    Jetson,
)
from derain.benchmarks.report.record import Case
from derain.benchmarks.report.text_tables import milliseconds
from derain.core.errors import BenchmarkError
from derain.core.sizes import Size

SIZES = (Size(640, 480), Size(1280, 720), Size(1920, 1080))
_TARGETS = ("any", "tensorrt")
_PRECISIONS = ("bundle-fp32", "bundle-fp16")


class ByteRecord:
    """What the kernels of each network move and compute a frame, as compiled.

    Args:
        folder: With one JSON file.

    Raises:
        BenchmarkError: There is none, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        try:
            (file,) = sorted(folder.glob("*.json"))
            content = json.loads(file.read_text(encoding="utf-8"))
            self.size = Size.parse(content["size"])
            self.networks: dict[str, dict[str, Any]] = content["networks"]
        except (OSError, ValueError, KeyError) as error:
            raise BenchmarkError(f"{folder} has no record of bytes: {error}") from error

    def engine(self, network: str, target: str, precision: str) -> dict[str, Any]:
        """``kernels`` and ``gigabytes``, or why they are ``missing``; or empty."""
        targets = self.networks.get(network, {}).get("targets", {})
        found: dict[str, Any] = targets.get(target, {}).get(precision, {})
        return found

    def gigabytes(self, network: str) -> float | None:
        """Of a frame in FP16; the fewest of all targets."""
        engines = (self.engine(network, target, "fp16") for target in _TARGETS)
        found = [each["gigabytes"] for each in engines if "gigabytes" in each]
        return min(found, default=None)

    def floor_ms(self, network: str, jetson: Jetson, size: Size) -> float:
        """Least time of a frame of `size`: memory's or arithmetic's, the longer one.

        As `derain.benchmarks.analysis.byte_floors` computes it.
        """
        bandwidth = jetson.dram_gb_s * BANDWIDTH_REACHED
        memory = (self.gigabytes(network) or 0.0) / bandwidth
        memory *= size.pixels / self.size.pixels
        rate = jetson.fp16_tflops * 1e12 * ARITHMETIC_REACHED
        kmac: float = self.networks[network]["kmac_per_px"]
        return 1e3 * max(memory, 2e3 * kmac * size.pixels / rate)


def byte_rows(record: ByteRecord) -> list[list[str]]:
    """Gigabytes by target and precision, and the floor on an Orin Nano Super."""
    kinds = [(p, target) for p in ("fp32", "fp16", "int8") for target in _TARGETS]
    titles = [f"{p.upper()}, `{target}`" for p, target in kinds]
    rows = [["network", *titles, "INT8 / FP16", "FP16 floor 720p, 1080p"]]
    nano = next(jetson for jetson in JETSONS if jetson.name == "Orin Nano Super")
    for network in record.networks:
        cells = [_bytes(record.engine(network, target, p)) for p, target in kinds]
        int8, fp16 = (
            record.engine(network, "tensorrt", p).get("gigabytes")
            for p in ("int8", "fp16")
        )
        ratio = "-" if int8 is None or fp16 is None else f"{int8 / fp16:.1f}"
        floors = "-"
        if record.gigabytes(network) is not None:
            found = [record.floor_ms(network, nano, size) for size in SIZES[1:]]
            floors = ", ".join(f"{floor:.0f}" for floor in found) + " ms"
        rows.append([f"`{network}`", *cells, ratio, floors])
    return rows


def _bytes(found: Mapping[str, Any]) -> str:
    if "gigabytes" not in found:
        return str(found.get("missing", "-"))
    return f"{found['gigabytes']:.1f} GB"


def frame_rate_rows(record: ByteRecord) -> list[list[str]]:
    """Most frames a second of each network and size, on each Jetson; computed."""
    rows = [["network", "frame", *(jetson.name for jetson in JETSONS)]]
    for network in record.networks:
        if record.gigabytes(network) is None:
            continue
        for size in SIZES:
            floors = [record.floor_ms(network, jetson, size) for jetson in JETSONS]
            rates = [f"{1e3 / floor:.0f}" for floor in floors]
            rows.append([f"`{network}`", str(size), *rates])
    return rows


def network_rows(
    weights: Path, cases: Mapping[str, Case], record: ByteRecord
) -> list[list[str]]:
    """A line for each network whose weights ship.

    Args:
        weights: Folder of the weights' records.
        cases: Of ``derain-bench``, by network, at one size.
        record: Of bytes.
    """
    rows = [
        [
            "network",
            "parameters",
            "a1: rainy → derained",
            "dry",
            "processor",
            "memory",
            "bytes",
        ]
    ]
    for path in sorted(weights.glob("*.json")):
        made = read_weights(path)
        case = cases.get(made["model"])
        best = None
        if case is not None:
            ours = [
                row
                for row in case.rows
                if row.key.startswith(_PRECISIONS) and row.latency is not None
            ]
            best = min(ours, key=lambda r: r.latency.median_ms if r.latency else 0.0)
        moved = record.gigabytes(made["model"])
        rows.append(
            [
                f"[`{made['model']}`](models/{made['model']}.md)",
                f"{made['parameters']:,}",
                _figure(made["figures"], "video/a1"),
                _dry(made["figures"]),
                f"{milliseconds(best.latency.median_ms)} ms"
                if best and best.latency
                else "-",
                f"{best.peak_host_bytes / 1e9:.1f} GB"
                if best and best.peak_host_bytes
                else "-",
                "-" if moved is None else f"{moved:.1f} GB",
            ]
        )
    return rows


def read_weights(path: Path) -> dict[str, Any]:
    """The record beside weights.

    Raises:
        BenchmarkError: It cannot be read.
    """
    try:
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = made["model"], made["figures"], made["parameters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is no record of weights: {error}") from error
    return made


def scores(figure: Mapping[str, Any]) -> str:
    """PSNR and SSIM before and after."""
    rainy = figure["rainy"]
    return (
        f"{rainy['psnr_db']:.2f} → {figure['psnr_db']:.2f} dB, "
        f"{rainy['ssim']:.4f} → {figure['ssim']:.4f}"
    )


def _figure(figures: Mapping[str, Any], beginning: str) -> str:
    found = [v for k, v in figures.items() if k.startswith(beginning) and "rainy" in v]
    if not found:
        return "not in its record yet"
    rainy, made = found[0]["rainy"], found[0]
    return f"{rainy['psnr_db']:.2f} → {made['psnr_db']:.2f} dB, {made['ssim']:.4f}"


def _dry(figures: Mapping[str, Any]) -> str:
    found = [v for k, v in figures.items() if k.startswith("dry")]
    if not found or found[0].get("mean_psnr_db") is None:
        return "-"
    return f"{found[0]['mean_psnr_db']:.1f} dB, worst {found[0]['least_psnr_db']:.1f}"
