"""The roofline of this machine: its measured peaks, and the least time of a graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from derain.benchmarks.report.fields import from_json
from derain.core.errors import BenchmarkError

if TYPE_CHECKING:
    from derain.benchmarks.analysis.graph_counts import GraphCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePeak:
    """A measured limit of this machine.

    Attributes:
        device: Processor or GPU.
        kind: ``copy``: bytes read and written; ``product``: floating-point operations
            of a matrix product, two for a multiply-accumulate.
        precision: Of the numbers.
        giga_per_s: GB/s or GFLOP/s.
        library: What it was measured with.
    """

    device: Literal["cpu", "gpu"]
    kind: Literal["copy", "product"]
    precision: Literal["fp32", "fp16"]
    giga_per_s: float
    library: str


def measure_peaks(threads: int) -> list[RooflinePeak]:
    """The peaks of this machine, measured now in a process of its own.

    Raises:
        BenchmarkError: They cannot be measured.
    """
    variables = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "derain.benchmarks.analysis.roofline_peaks",
            str(threads),
        ],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    if done.returncode:
        last = next(iter(done.stderr.splitlines()[-1:]), f"status {done.returncode}")
        raise BenchmarkError(f"the ceilings cannot be measured: {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return [from_json(RooflinePeak, fields, "peak") for fields in found]


def higher_peaks(
    first: Sequence[RooflinePeak], second: Sequence[RooflinePeak]
) -> list[RooflinePeak]:
    """Of each kind and library the higher: what disturbs can only make it lower."""
    best: dict[tuple[str, str, str, str], RooflinePeak] = {}
    for peak in (*first, *second):
        key = peak.device, peak.kind, peak.precision, peak.library
        if key not in best or peak.giga_per_s > best[key].giga_per_s:
            best[key] = peak
    return list(best.values())


def best_peak(
    peaks: Sequence[RooflinePeak], device: str, kind: str, precision: str = "fp32"
) -> float | None:
    """The highest of the measured `peaks` of one kind, in G/s; None without one."""
    values = [
        peak.giga_per_s
        for peak in peaks
        if (peak.device, peak.kind, peak.precision) == (device, kind, precision)
    ]
    return max(values, default=None)


def rooflines_ms(
    graphs: Sequence[GraphCounts], peaks: Sequence[RooflinePeak]
) -> dict[str, float]:
    """Least time of a frame by device and precision: `NetworkLimits.roofline_ms`."""
    found = {}
    for device, precision in (("cpu", "fp32"), ("gpu", "fp32"), ("gpu", "fp16")):
        flops = best_peak(peaks, device, "product", precision)
        bandwidth = best_peak(peaks, device, "copy")
        if not graphs or not flops or not bandwidth:
            continue
        part = 0.5 if precision == "fp16" else 1.0  # of the FP32 bytes
        found[f"{device}-{precision}"] = min(
            sum(
                max(2 * node.macs / flops, part * node.moved_bytes / bandwidth) / 1e6
                for node in counts.nodes
            )
            for counts in graphs
        )
    return found
