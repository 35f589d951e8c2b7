"""What a memory costs: one network with states and without them, taking turns.

The network is made for it: plain convolutions at half size, and 16 channels there that
it hands on from frame to frame. Its twin has the same layers, all of which work on the
same shapes; zeros take the place of what it would remember, and what it would hand on
is used and dropped. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.percentiles import INTERVAL
from derain.benchmarks.latency.runtime_cost import traced_memory
from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.manifest import Golden, Manifest
from derain.core.sizes import Size, SizeRange
from derain.export.frame_graph import wrap_frame
from derain.export.frames import verification_frames
from derain.export.operators.lowering import lower_operators
from derain.export.passes import optimize
from derain.export.to_onnx import to_onnx
from derain.models.registry import NetworkFacts
from derain.models.video_network import VideoNetwork
from derain.runtime.backends import open_backend
from derain.runtime.backends.protocol import Backend, Memory

_log = logging.getLogger(__name__)

STATE_CHANNELS = 16
_CHANNELS, _LAYERS = 32, 8  # of `derain.models.networks.rivulet`, the small one
_OPSET = 20
_WARM = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesCost:
    """What states cost on ONNX Runtime's processor.

    Attributes:
        size: Of the frames.
        threads: Processor threads.
        state_bytes: Of the states: each frame reads them and writes as many.
        rounds: How often the two took turns.
        with_ms: Median time of a frame with states.
        without_ms: And without.
        ratio: Median over the rounds of one over the other.
        ratio_low: 2.5th percentile of that.
        ratio_high: 97.5th percentile.
        cpu_ratio: Median ratio of the processor time, which others on the machine
            disturb less.
        cpu_ratio_low: 2.5th percentile of that.
        cpu_ratio_high: 97.5th percentile.
        kept_bytes_per_frame: Memory of Python and NumPy that stays allocated by a frame
            with states.
        peak_bytes: Most of it at once during the frames, above that before. What ONNX
            Runtime allocates by itself is not seen.
    """

    size: Size
    threads: int
    state_bytes: int
    rounds: int
    with_ms: float
    without_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    cpu_ratio: float
    cpu_ratio_low: float
    cpu_ratio_high: float
    kept_bytes_per_frame: float
    peak_bytes: int

    def text(self) -> str:
        """For a terminal."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return "\n".join(
            (
                f"frames           {self.size}, {threads}, {self.rounds} rounds",
                f"states           {self.state_bytes / 1e6:.1f} MB, {STATE_CHANNELS} "
                "channels at half size",
                f"with states      {self.with_ms:.1f} ms a frame (median)",
                f"without          {self.without_ms:.1f} ms",
                f"time             {self.ratio - 1:+.1%} [{self.ratio_low - 1:+.1%} to "
                f"{self.ratio_high - 1:+.1%}]",
                f"processor time   {self.cpu_ratio - 1:+.1%} "
                f"[{self.cpu_ratio_low - 1:+.1%} to {self.cpu_ratio_high - 1:+.1%}]",
                f"kept per frame   {self.kept_bytes_per_frame:.1f} bytes",
                f"most in between  {self.peak_bytes:,} bytes",
            )
        )


class Remembering(nn.Module):
    """`(frame, hidden)` -> `(picture, hidden)`; a cell that is all convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(12 + STATE_CHANNELS, _CHANNELS, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1) for _ in range(_LAYERS)
        )
        self.hidden = nn.Conv2d(_CHANNELS, STATE_CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(_CHANNELS + STATE_CHANNELS, 12, 3, padding=1)

    def states(self, height: int, width: int) -> list[tuple[int, ...]]:
        """What it remembers, for frames of this size."""
        return [(1, STATE_CHANNELS, height // 2, width // 2)]

    def forward(self, frame: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 3, H, W)` RGB in [0, 1], and the state."""
        y = F.relu(self.stem(torch.cat([F.pixel_unshuffle(frame, 2), hidden], 1)))
        for layer in self.body:
            y = F.relu(layer(y))
        new = F.relu(self.hidden(y))
        rain = self.last(torch.cat([y, new], 1))
        return frame - F.pixel_shuffle(rain, 2), new


class Forgetting(nn.Module):
    """The same, of one frame alone: zeros in place of the state."""

    def __init__(self, network: Remembering, size: Size) -> None:
        super().__init__()
        self.network = network
        self.none: Tensor
        (shape,) = network.states(size.height, size.width)
        self.register_buffer("none", torch.zeros(shape))

    def forward(self, frame: Tensor) -> Tensor:
        """`(N, 3, H, W)` RGB in [0, 1]."""
        picture: Tensor = self.network(frame, self.none)[0]
        return picture


def measure_states(size: Size, rounds: int, threads: int) -> StatesCost:
    """Measure what a memory costs.

    Args:
        size: Of the frames; height and width are even.
        rounds: How often the two take turns, a frame each.
        threads: Processor threads.

    Raises:
        DerainError: The networks cannot be exported or run here.
    """
    torch.manual_seed(0)
    network = Remembering().eval()
    facts = NetworkFacts(multiple_of=2)
    frames = verification_frames(size, 2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _log.info("exporting the network with and without states")
        bundles = [
            _write(VideoNetwork(network, facts), size, folder / "with"),
            _write(Forgetting(network, size).eval(), size, folder / "without"),
        ]
        backends = [
            stack.enter_context(closing(open_backend("onnxruntime", each, threads)))
            for each in bundles
        ]
        memories = [
            stack.enter_context(closing(each.new_memory())) for each in backends
        ]
        rows = list(zip(backends, memories, strict=True))
        batches = [frame[np.newaxis] for frame in frames]
        _log.info("rounds")
        wall, cpu = _take_turns(rows, batches, rounds)
        _log.info("memory")
        kept, peak = traced_memory(_stream(*rows[0], batches))
        low, high = np.percentile(wall[0] / wall[1], INTERVAL)
        cpu_low, cpu_high = np.percentile(cpu[0] / cpu[1], INTERVAL)
        return StatesCost(
            size=size,
            threads=threads,
            state_bytes=bundles[0].manifest.state_bytes(size),
            rounds=rounds,
            with_ms=statistics.median(wall[0]),
            without_ms=statistics.median(wall[1]),
            ratio=float(np.median(wall[0] / wall[1])),
            ratio_low=float(low),
            ratio_high=float(high),
            cpu_ratio=float(np.median(cpu[0] / cpu[1])),
            cpu_ratio_low=float(cpu_low),
            cpu_ratio_high=float(cpu_high),
            kept_bytes_per_frame=kept,
            peak_bytes=peak,
        )


def _write(network: nn.Module, size: Size, folder: Path) -> Bundle:
    """The bundle of `network`, as ``derain-export`` makes it, but for the proof."""
    sizes, facts = SizeRange.static(size), NetworkFacts(multiple_of=2)
    core = to_onnx(network, facts, sizes, _OPSET)
    wrap_frame(core, facts, sizes)
    optimize(core.model, "any")
    lower_operators(core.model, "any", core.maps)
    folder.mkdir()
    ir.save(core.model, folder / MODEL_FILE)
    manifest = Manifest(
        model=folder.name,
        precision="fp32",
        target="any",
        sizes=sizes,
        golden=Golden(inputs=("-",), outputs=("-",), min_psnr_db=1.0),
        files={},
        network={"multiple_of": 2},
        states=core.memory.states,
    )
    return Bundle(folder, manifest)


def _take_turns(
    rows: list[tuple[Backend, Memory]], batches: list[Frame], rounds: int
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], ...]:
    """Wall-clock and processor time of a frame in ms, each `(2, rounds)`."""
    times = np.zeros((2, len(rows), rounds))
    for number in range(-_WARM, rounds):
        order = range(len(rows)) if number % 2 else reversed(range(len(rows)))
        for row in order:  # neither always comes after the other
            backend, memory = rows[row]
            started, used = time.perf_counter(), time.process_time()
            backend.infer(batches[number % len(batches)], memory)
            if number >= 0:
                times[0, row, number] = (time.perf_counter() - started) * 1000
                times[1, row, number] = (time.process_time() - used) * 1000
    return times[0], times[1]


def _stream(backend: Backend, memory: Memory, batches: list[Frame]) -> Iterator[object]:
    yield from backend.stream(itertools.cycle(batches), memory)
