"""Least time of a frame on each Jetson, from the bytes of a compiled engine.

``derain-bench bytes`` compiles the graph of a bundle, sums up what its kernels read and
write, counts its arithmetic, and says how long either takes on every module at what
such networks reach of it. Computed, not measured on a device.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from derain.benchmarks.analysis.graph_counts import count_graph
from derain.benchmarks.analysis.limits import (
    ARITHMETIC_REACHED,
    BANDWIDTH_REACHED,
    JETSONS,
    Jetson,
)
from derain.core.bundle import Bundle
from derain.core.errors import BenchmarkError
from derain.core.manifest import Precision, Target
from derain.core.sizes import Size, SizeRange
from derain.runtime.tensorrt.engine_bytes import EngineBytes, measure_engine_bytes
from derain.runtime.tensorrt.engine_states import state_ranges

_log = logging.getLogger(__name__)

SIZES = (Size(1280, 720), Size(1920, 1080))
# Tensor cores: TF32 at half the rate of FP16, INT8 at twice.
_RATE: dict[Precision, float] = {"fp32": 0.5, "fp16": 1.0, "int8": 2.0}
_SHOWN_KERNELS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteFloor:
    """Least time of a frame on a module.

    Attributes:
        module: Name of the `Jetson`.
        size: Of the frame.
        memory_ms: What the bytes take.
        arithmetic_ms: What the arithmetic takes; None where it was not counted.
        binds: Which of the two is longer.
    """

    module: str
    size: Size
    memory_ms: float
    arithmetic_ms: float | None
    binds: Literal["memory", "arithmetic"]

    @property
    def floor_ms(self) -> float:
        """The longer of the two: kernels do both at once."""
        return max(self.memory_ms, self.arithmetic_ms or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleBytes:
    """What a bundle moves a frame, and what that means.

    Attributes:
        bundle: Its folder.
        model: Its network.
        precision: Of its graph.
        target: What the graph was written for.
        engine: The compiled engine's kernels.
        macs: Multiply-accumulates of a frame; None where a shape is not known.
        state_bytes: Of them what is remembered: read once and written once; 0 without
            a memory.
        floors: For each module and each of `SIZES`, by the number of pixels.
    """

    bundle: str
    model: str
    precision: Precision
    target: Target
    engine: EngineBytes
    macs: int | None
    state_bytes: int
    floors: tuple[ByteFloor, ...]

    def text(self, *, kernels: bool = False) -> str:
        """A table; with `kernels` those that move most, too."""
        engine = self.engine
        flop = "" if self.macs is None else f" and {2e-9 * self.macs:.0f} GFLOP"
        lines = [
            f"{self.bundle}: {self.model}, {self.precision}, target {self.target}",
            f"{len(engine.kernels)} kernels of {engine.backend} {engine.version}, "
            f"{engine.size}: {engine.moved_bytes / 1e6:.0f} MB{flop} a frame",
            *self._states(),
            "",
            f"{'floor in ms (computed)':<22}" + "".join(f"{s!s:>26}" for s in SIZES),
        ]
        for jetson in JETSONS:
            cells = [
                f"{floor.floor_ms:>16.1f} {floor.binds:<10}"
                for floor in self.floors
                if floor.module == jetson.name
            ]
            lines.append(f"{jetson.name:<22}" + "".join(cells).rstrip())
        if kernels:
            most = sorted(engine.kernels, key=lambda k: -k.read_bytes - k.written_bytes)
            lines += ["", "    read  written   MB of the kernels that move most"]
            lines += [
                f"{k.read_bytes / 1e6:>8.1f} {k.written_bytes / 1e6:>8.1f}   "
                f"{k.kind} {k.name}"
                for k in most[:_SHOWN_KERNELS]
            ]
        return "\n".join(lines)

    def _states(self) -> list[str]:
        if not self.state_bytes:
            return []
        whole = self.engine.moved_bytes
        return [
            f"states, read and written once: {self.state_bytes / 1e6:.1f} MB of it"
            + (f", {self.state_bytes / whole:.0%}" if whole else "")
        ]


def measure_bytes(folder: Path, size: Size | None = None) -> BundleBytes:
    """Compile the graph of a bundle, and say what its bytes mean on each Jetson.

    Args:
        folder: The bundle.
        size: Of the frames; None takes the size that the bundle was exported for.

    Raises:
        DerainError: The folder is no bundle, does not take the size, or cannot be
            compiled here.
    """
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    size = size or manifest.sizes.optimum
    if size not in manifest.sizes:
        raise BenchmarkError(f"{folder} takes {manifest.sizes}, not {size}")
    _log.info("compiling %s for %s", folder, size)
    engine = measure_engine_bytes(
        bundle.model_path,
        manifest.precision,
        size,
        states=state_ranges(manifest, SizeRange.static(size)),
    )
    macs = _macs(bundle) if size == manifest.sizes.optimum else None
    return BundleBytes(
        bundle=str(folder),
        model=manifest.model,
        precision=manifest.precision,
        target=manifest.target,
        engine=engine,
        macs=macs,
        state_bytes=2 * manifest.state_bytes(size),
        floors=tuple(
            floor_of(jetson, engine, macs, manifest.precision, shown)
            for shown in SIZES
            for jetson in JETSONS
        ),
    )


def floor_of(
    jetson: Jetson,
    engine: EngineBytes,
    macs: int | None,
    precision: Precision,
    size: Size,
) -> ByteFloor:
    """Least time of a frame of `size` on `jetson`.

    Args:
        jetson: The module.
        engine: Measured at its own size; bytes grow with the pixels.
        macs: Multiply-accumulates at the engine's size; they grow with the pixels, too,
            those of attention faster: export at the size that is wanted.
        precision: Of the graph.
        size: Of the frame.
    """
    pixels = size.pixels / engine.size.pixels
    bandwidth = jetson.dram_gb_s * 1e6 * BANDWIDTH_REACHED  # bytes per ms
    memory = pixels * engine.moved_bytes / bandwidth
    arithmetic = None
    if macs is not None:
        rate = jetson.fp16_tflops * 1e9 * ARITHMETIC_REACHED * _RATE[precision]
        arithmetic = pixels * 2 * macs / rate
    return ByteFloor(
        module=jetson.name,
        size=size,
        memory_ms=memory,
        arithmetic_ms=arithmetic,
        binds="memory" if arithmetic is None or memory >= arithmetic else "arithmetic",
    )


def _macs(bundle: Bundle) -> int | None:
    try:
        return count_graph(bundle.model_path).macs
    except BenchmarkError as error:
        _log.warning("arithmetic not counted: %s", error)
        return None
