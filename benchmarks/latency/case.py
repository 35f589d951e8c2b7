"""One table: a network at a size, all its rows taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from derain.benchmarks.analysis.limits import Limits
from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.candidates import REFERENCE, RowSpec, open_subject
from derain.benchmarks.latency.nvml import Gpu
from derain.benchmarks.latency.percentiles import SpeedUp, speed_up, summarise
from derain.benchmarks.latency.power import EnergyMeter
from derain.benchmarks.latency.prepare import model_bytes
from derain.benchmarks.latency.rounds import Outcome, Pace, WarmUp, take_turns, warm_up
from derain.benchmarks.latency.runners import (
    LocalRunner,
    Memory,
    RemoteRunner,
    Runner,
    row_error_arguments,
)
from derain.benchmarks.quality.truth import compare, measure_truth
from derain.benchmarks.report.record import Quality, Row, StartUp, Truth
from derain.core.bundle import Bundle
from derain.core.errors import RowError
from derain.core.pairs import Pair

_STREAM_SECONDS = 2.0
_LEAST_STREAMED = 3

Tell = Callable[[str], None]


@dataclass(slots=True)
class Entrant:
    """A row while it is measured; what is still None was not reached."""

    spec: RowSpec
    error: RowError | None = None
    runner: Runner | None = None
    description: str = ""
    start_up: StartUp | None = None
    first: Frame | None = None
    warm: WarmUp | None = None
    typical_ms: float = 0.0
    outcome: Outcome | None = None
    streamed_fps: float | None = None
    memory: Memory | None = None
    device_bytes: int | None = None
    quality: Quality | None = None
    truth: Truth | None = None

    def drop(self, error: Exception) -> None:
        """The row has failed: keep why, and let its process go."""
        self.error = RowError(*row_error_arguments(error))
        self.close()

    def close(self) -> None:
        """Let its process go."""
        if self.runner is not None:
            self.runner.close()
            self.runner = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a case is measured with.

    Attributes:
        pace: How long.
        own_process: A process for each row.
        meter: Reads energy; None where there is none.
        gpu: The NVIDIA GPU; None without.
        pairs: For the quality against the truth; may be empty.
        logs: Folder for what the rows' libraries print.
        tell: Told what is being done.
    """

    pace: Pace
    own_process: bool
    meter: EnergyMeter | None
    gpu: Gpu | None
    pairs: Sequence[Pair]
    logs: Path
    tell: Tell


def measure(
    entrants: Sequence[Entrant], frames: Sequence[Frame], tools: Tools
) -> str | None:
    """Measure all `entrants` that have no error yet, in place.

    Returns:
        What quality was measured against; None where it was not.
    """
    try:
        for entrant in entrants:
            if entrant.error is None:
                tools.tell(f"{entrant.spec.key}: starting")
                _attempt(entrant, partial(_open, entrant, frames, tools))
        reference = _measure_quality(entrants)
        for entrant in entrants:
            if entrant.runner is not None:
                tools.tell(f"{entrant.spec.key}: warming up")
                _attempt(entrant, partial(_warm, entrant, tools))
        _take_turns(entrants, tools)
        for entrant in entrants:
            if entrant.runner is not None:
                tools.tell(f"{entrant.spec.key}: streaming, quality")
                _attempt(entrant, partial(_finish, entrant, tools))
    finally:
        for entrant in entrants:
            entrant.close()
    return reference


def _attempt(entrant: Entrant, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # a row that fails is a row with its error
        entrant.drop(error)


def _open(entrant: Entrant, frames: Sequence[Frame], tools: Tools) -> None:
    spec = entrant.spec
    before = tools.gpu.used_bytes() if tools.gpu else None
    started = time.perf_counter()
    if tools.own_process:
        log = tools.logs / f"{spec.key.replace('/', '-').replace(' ', '-')}.log"
        entrant.runner = RemoteRunner(spec, frames, log)
    else:
        entrant.runner = LocalRunner(open_subject(spec), frames)
    opened = time.perf_counter()
    entrant.description = entrant.runner.description
    (entrant.first,) = entrant.runner.derain(frames[:1])
    now = time.perf_counter()
    if tools.own_process:
        entrant.start_up = StartUp(
            open_s=opened - started,
            first_frame_s=now - opened,
            total_s=now - started,
        )
    after = tools.gpu.used_bytes() if tools.gpu else None
    if before is not None and after is not None:
        # Rows are opened one after the other: what was added is this one's, context
        # and libraries included.
        entrant.device_bytes = max(0, after - before)


def _measure_quality(entrants: Sequence[Entrant]) -> str | None:
    """Compare first frames with the reference row's, or golden frames with theirs."""
    for entrant in entrants:
        if entrant.spec.entry == REFERENCE and entrant.first is not None:
            for other in entrants:
                if other.first is not None and other is not entrant:
                    other.quality = compare(other.first, entrant.first)
            return REFERENCE
    reference = None
    for entrant in entrants:
        file = entrant.spec.file
        runner = entrant.runner
        if runner is not None and file is not None and file.is_dir():
            rainy, expected = Bundle.open(file).golden_frames()
            shape = (entrant.spec.size.height, entrant.spec.size.width, 3)
            if rainy.shape == shape:
                (derained,) = runner.derain([rainy])
                entrant.quality = compare(derained, expected)
                reference = "golden frame"
    return reference


def _warm(entrant: Entrant, tools: Tools) -> None:
    assert entrant.runner is not None
    entrant.warm, entrant.typical_ms = warm_up(entrant.runner, tools.pace)


def _take_turns(entrants: Sequence[Entrant], tools: Tools) -> None:
    running = {e.spec.key: e for e in entrants if e.runner is not None}
    started = time.perf_counter()

    def progress(done: int) -> None:
        tools.tell(f"round {done}, {time.perf_counter() - started:.0f} s")

    outcomes = take_turns(
        {key: e.runner for key, e in running.items() if e.runner is not None},
        {key: e.typical_ms for key, e in running.items()},
        tools.pace,
        tools.meter,
        progress,
    )
    for key, outcome in outcomes.items():
        running[key].outcome = outcome
        if outcome.error is not None:
            running[key].drop(outcome.error)


def _finish(entrant: Entrant, tools: Tools) -> None:
    runner = entrant.runner
    assert runner is not None
    count = int(_STREAM_SECONDS * 1000 / entrant.typical_ms)
    slow = entrant.typical_ms * _LEAST_STREAMED > tools.pace.duration_s * 1000
    if not slow:
        count = max(_LEAST_STREAMED, count)
        entrant.streamed_fps = count / runner.stream_seconds(count)
    memory = runner.memory()
    if entrant.device_bytes is not None:
        memory = replace(memory, device_bytes=entrant.device_bytes)
    entrant.memory = memory
    if tools.pairs:
        entrant.truth = measure_truth(runner, tools.pairs, entrant.spec.size)


def to_rows(entrants: Sequence[Entrant], limits: Limits | None, gpu: bool) -> list[Row]:
    """The entrants as rows of a record."""
    rounds = {e.spec.key: _rounds(e) for e in entrants}
    torch_rows = [e for e in entrants if e.spec.row.module == "torch_rows"]
    reference = rounds.get(REFERENCE, [])
    fastest = min(
        (e for e in torch_rows if rounds[e.spec.key]),
        key=lambda e: statistics.median(chain.from_iterable(rounds[e.spec.key])),
        default=None,
    )
    best = rounds[fastest.spec.key] if fastest else []
    return [_row(e, rounds[e.spec.key], reference, best, limits, gpu) for e in entrants]


def _rounds(entrant: Entrant) -> list[list[float]]:
    outcome = entrant.outcome
    return [turn.latencies_ms for turn in outcome.turns] if outcome else []


def _row(
    entrant: Entrant,
    rounds: list[list[float]],
    reference: list[list[float]],
    best: list[list[float]],
    limits: Limits | None,
    gpu: bool,
) -> Row:
    spec, outcome, memory = entrant.spec, entrant.outcome, entrant.memory
    frames = [ms for turn in rounds for ms in turn]
    latency = summarise(frames) if frames else None
    joules = outcome.joules if outcome else []
    roofline = None
    if limits is not None and latency is not None:
        roofline = limits.roofline_ms.get(f"{_device(spec, gpu)}-{spec.precision}")

    def faster(than: list[list[float]]) -> SpeedUp | None:
        return speed_up(rounds, than) if rounds and than else None

    return Row(
        key=spec.key,
        summary=spec.row.summary,
        precision=spec.precision,
        description=entrant.description,
        error=str(entrant.error) if entrant.error else None,
        error_detail=entrant.error.detail if entrant.error else "",
        start_up=entrant.start_up,
        warm_up=entrant.warm,
        latency=latency,
        rounds_ms=rounds,
        split_ms=_split(outcome),
        streamed_fps=entrant.streamed_fps,
        speed_up=faster(reference),
        speed_up_best=faster(best),
        peak_host_bytes=memory.host_bytes if memory else None,
        peak_device_bytes=memory.device_bytes if memory else None,
        model_bytes=model_bytes(spec.file) if spec.file else None,
        quality=entrant.quality,
        truth=entrant.truth,
        joules_per_frame=sum(joules) / len(frames) if joules and frames else None,
        roofline_share=roofline / latency.median_ms if roofline and latency else None,
    )


def _device(spec: RowSpec, gpu: bool) -> str:
    if spec.row.module == "torch_rows":
        return "gpu" if gpu else "cpu"
    return "cpu" if spec.backend in ("", "onnxruntime") else "gpu"


def _split(outcome: Outcome | None) -> dict[str, float]:
    splits = [s for turn in outcome.turns for s in turn.splits_ms] if outcome else []
    stages = list(dict.fromkeys(name for split in splits for name in split))
    return {
        stage: statistics.median(split[stage] for split in splits if stage in split)
        for stage in stages
    }
