"""What a network costs, and whether each Jetson would bear it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from derain.benchmarks.analysis.graph_counts import GraphCounts

VERDICT_FPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Jetson:
    """What a module can do on paper: its GPU alone, dense arithmetic.

    Attributes:
        name: The module, and its power mode where that matters.
        fp16_tflops: 10^12 floating-point operations per second.
        dram_gb_s: Bandwidth of its memory.
    """

    name: str
    fp16_tflops: float
    dram_gb_s: float


# Derived from NVIDIA's data sheets.
JETSONS = (
    Jetson(name="Orin Nano 8GB 15 W", fp16_tflops=10.2, dram_gb_s=68.0),
    Jetson(name="Orin Nano Super", fp16_tflops=16.7, dram_gb_s=102.0),
    Jetson(name="Orin NX 16GB", fp16_tflops=15.0, dram_gb_s=102.0),
    Jetson(name="AGX Orin 32GB", fp16_tflops=26.7, dram_gb_s=204.8),
    Jetson(name="AGX Orin 64GB", fp16_tflops=42.6, dram_gb_s=204.8),
    Jetson(name="Thor T5000", fp16_tflops=258.5, dram_gb_s=273.0),
)
# What networks of this kind reach of the arithmetic, and what others measured of the
# bandwidth: 152.8 of 204.8 GB/s on an AGX Orin 64GB.
ARITHMETIC_REACHED = 0.35
BANDWIDTH_REACHED = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class JetsonVerdict:
    """Whether a module would derain in time. Computed, not measured.

    Attributes:
        module: Name of the `Jetson`.
        fps: Wanted frames per second.
        arithmetic_percent: Of the arithmetic it reaches, how much is needed in FP16.
        memory_percent: Of the bandwidth it reaches, how much is needed in FP16, layer
            by layer.
        fits: Whether both are at most 100.
    """

    module: str
    fps: int
    arithmetic_percent: float
    memory_percent: float
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCost:
    """What a graph costs in FP32 at its size.

    Attributes:
        graph: Which graph was counted: ``plain`` as PyTorch exports it, or ``bundle``.
        kmac_per_px: Thousand multiply-accumulates per pixel.
        parameters: Numbers in constant tensors; BatchNorm may have been folded.
        moved_bytes: Bytes moved layer by layer, element-wise operators fused.
        least_bytes: Frame in, frame out, states in and out, and parameters, once.
        flop_per_byte: Arithmetic intensity, layer by layer.
    """

    graph: Literal["plain", "bundle"]
    kmac_per_px: float
    parameters: int
    moved_bytes: int
    least_bytes: int
    flop_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLimits:
    """What a network costs, and what that means here and on Jetsons.

    Attributes:
        counts: Of each graph that could be counted.
        roofline_ms: Least time on this machine by device and precision, such as
            ``cpu-fp32``: of the counted graphs the one that needs least, layer by
            layer the longer of arithmetic and memory at the measured peaks. Small
            maps stay in caches, so a row may be faster.
        verdicts: For each `Jetson`; computed, not measured.
    """

    counts: list[GraphCost]
    roofline_ms: dict[str, float]
    verdicts: list[JetsonVerdict]


def describe_counts(
    counts: GraphCounts, graph: Literal["plain", "bundle"]
) -> GraphCost:
    """`counts` for a record."""
    return GraphCost(
        graph=graph,
        kmac_per_px=counts.macs / counts.pixels / 1000,
        parameters=counts.parameters,
        moved_bytes=counts.moved_bytes,
        least_bytes=counts.least_bytes,
        flop_per_byte=2 * counts.macs / counts.moved_bytes if counts.moved_bytes else 0,
    )


def jetson_verdicts(
    counts: GraphCost, pixels: int, fps: int = VERDICT_FPS
) -> list[JetsonVerdict]:
    """Whether each Jetson would derain `fps` frames of `pixels` in a second, in FP16.

    Args:
        counts: In FP32; FP16 halves the bytes.
        pixels: Of a frame.
        fps: Wanted frames per second.
    """
    verdicts = []
    for jetson in JETSONS:
        flops = 2 * counts.kmac_per_px * 1000 * pixels * fps
        arithmetic = flops / (jetson.fp16_tflops * 1e12 * ARITHMETIC_REACHED)
        moved = counts.moved_bytes / 2 * fps
        memory = moved / (jetson.dram_gb_s * 1e9 * BANDWIDTH_REACHED)
        verdicts.append(
            JetsonVerdict(
                module=jetson.name,
                fps=fps,
                arithmetic_percent=arithmetic * 100,
                memory_percent=memory * 100,
                fits=arithmetic <= 1 and memory <= 1,
            )
        )
    return verdicts
