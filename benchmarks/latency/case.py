"""One table: a network at a size, all its rows taking turns."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from derain.benchmarks.analysis.limits import NetworkLimits
from derain.benchmarks.latency.candidate import Frame, FrameMemory
from derain.benchmarks.latency.candidates import (
    REFERENCE,
    CandidateSpec,
    open_candidate,
)
from derain.benchmarks.latency.nvml import Gpu
from derain.benchmarks.latency.percentiles import SpeedUp, speed_up, summarise
from derain.benchmarks.latency.power import EnergyMeter
from derain.benchmarks.latency.prepare import model_bytes
from derain.benchmarks.latency.rounds import Outcome, Pace, WarmUp, interleave, warm_up
from derain.benchmarks.latency.runners import (
    LocalRunner,
    PeakMemory,
    RemoteRunner,
    Runner,
    error_arguments,
)
from derain.benchmarks.quality.truth import compare, measure_truth
from derain.benchmarks.report.record import CandidateResult, Quality, StartUp, Truth
from derain.core.bundle import Bundle
from derain.core.errors import CandidateError
from derain.core.pairs import Pair

_log = logging.getLogger(__name__)
_STREAM_SECONDS = 2.0
_LEAST_STREAMED = 3


@dataclass(slots=True)
class Measurement:
    """A row while it is measured; what is still None was not reached."""

    spec: CandidateSpec
    error: CandidateError | None = None
    runner: Runner | None = None
    description: str = ""
    start_up: StartUp | None = None
    remembers: FrameMemory = field(default_factory=FrameMemory)
    first: Frame | None = None  # with a memory the last one of a first clip
    warm: WarmUp | None = None
    typical_ms: float = 0.0
    outcome: Outcome | None = None
    streamed_fps: float | None = None
    memory: PeakMemory | None = None
    device_bytes: int | None = None
    quality: Quality | None = None
    truth: Truth | None = None

    def drop(self, error: Exception) -> None:
        """The row has failed: keep why, and let its process go."""
        self.error = CandidateError(*error_arguments(error))
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
    """

    pace: Pace
    own_process: bool
    meter: EnergyMeter | None
    gpu: Gpu | None
    pairs: Sequence[Pair]
    logs: Path


def measure_candidates(
    measurements: Sequence[Measurement], frames: Sequence[Frame], tools: Tools
) -> str | None:
    """Measure all `measurements` that have no error yet, in place.

    Returns:
        What quality was measured against; None where it was not.
    """
    try:
        for measurement in measurements:
            if measurement.error is None:
                _say(measurement, "starting")
                _attempt(measurement, partial(_open, measurement, frames, tools))
        reference = _measure_quality(measurements)
        for measurement in measurements:
            if measurement.runner is not None:
                _say(measurement, "warming up")
                _attempt(measurement, partial(_warm, measurement, tools))
        _interleave(measurements, tools)
        for measurement in measurements:
            if measurement.runner is not None:
                _say(measurement, "streaming, quality")
                _attempt(measurement, partial(_finish, measurement, tools))
    finally:
        for measurement in measurements:
            measurement.close()
    return reference


def _say(measurement: Measurement, what: str) -> None:
    spec = measurement.spec
    _log.info("%s %s: %s: %s", spec.model, spec.size, spec.key, what)


def _attempt(measurement: Measurement, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # a row that fails is a row with its error
        measurement.drop(error)


def _open(measurement: Measurement, frames: Sequence[Frame], tools: Tools) -> None:
    spec = measurement.spec
    before = tools.gpu.used_bytes() if tools.gpu else None
    started = time.perf_counter()
    if tools.own_process:
        log = tools.logs / f"{spec.key.replace('/', '-').replace(' ', '-')}.log"
        measurement.runner = RemoteRunner(spec, frames, log)
    else:
        measurement.runner = LocalRunner(open_candidate(spec), frames)
    opened = time.perf_counter()
    measurement.description = measurement.runner.description
    (measurement.first,) = measurement.runner.derain(frames[:1])
    now = time.perf_counter()
    measurement.remembers = measurement.runner.remembers
    if measurement.remembers.state_bytes:
        measurement.first = measurement.runner.derain(frames)[-1]
    if tools.own_process:
        measurement.start_up = StartUp(
            open_s=opened - started,
            first_frame_s=now - opened,
            total_s=now - started,
        )
    after = tools.gpu.used_bytes() if tools.gpu else None
    if before is not None and after is not None:
        # Rows are opened one after the other: what was added is this one's, context
        # and libraries included.
        measurement.device_bytes = max(0, after - before)


def _measure_quality(measurements: Sequence[Measurement]) -> str | None:
    """Compare first frames with the reference row's, or golden clips with theirs."""
    for measurement in measurements:
        if measurement.spec.candidate == REFERENCE and measurement.first is not None:
            for other in measurements:
                if other.first is not None and other is not measurement:
                    other.quality = compare(other.first, measurement.first)
            return REFERENCE
    reference = None
    for measurement in measurements:
        file = measurement.spec.file
        runner = measurement.runner
        if runner is not None and file is not None and file.is_dir():
            rainy, expected = Bundle.open(file).golden_clip()
            shape = (measurement.spec.size.height, measurement.spec.size.width, 3)
            if rainy[0].shape == shape:
                derained = runner.derain(rainy)
                measurement.quality = compare(derained[-1], expected[-1])
                reference = "golden frame"
    return reference


def _warm(measurement: Measurement, tools: Tools) -> None:
    assert measurement.runner is not None
    measurement.warm, measurement.typical_ms = warm_up(measurement.runner, tools.pace)


def _interleave(measurements: Sequence[Measurement], tools: Tools) -> None:
    running = {m.spec.key: m for m in measurements if m.runner is not None}
    outcomes = interleave(
        {key: m.runner for key, m in running.items() if m.runner is not None},
        {key: m.typical_ms for key, m in running.items()},
        tools.pace,
        tools.meter,
    )
    for key, outcome in outcomes.items():
        running[key].outcome = outcome
        if outcome.error is not None:
            running[key].drop(outcome.error)


def _finish(measurement: Measurement, tools: Tools) -> None:
    runner = measurement.runner
    assert runner is not None
    count = int(_STREAM_SECONDS * 1000 / measurement.typical_ms)
    slow = measurement.typical_ms * _LEAST_STREAMED > tools.pace.duration_s * 1000
    if not slow:
        count = max(_LEAST_STREAMED, count)
        measurement.streamed_fps = count / runner.stream_seconds(count)
    memory = runner.memory()
    if measurement.device_bytes is not None:
        memory = replace(memory, device_bytes=measurement.device_bytes)
    measurement.memory = memory
    if tools.pairs:
        measurement.truth = measure_truth(runner, tools.pairs, measurement.spec.size)


def to_results(
    measurements: Sequence[Measurement], limits: NetworkLimits | None
) -> list[CandidateResult]:
    """The measurements as results of a record."""
    rounds = {m.spec.key: _rounds(m) for m in measurements}
    pytorch = [m for m in measurements if m.spec.entry.is_pytorch]
    reference = rounds.get(REFERENCE, [])
    fastest = min(
        (m for m in pytorch if rounds[m.spec.key]),
        key=lambda m: statistics.median(chain.from_iterable(rounds[m.spec.key])),
        default=None,
    )
    best = rounds[fastest.spec.key] if fastest else []
    return [_row(m, rounds[m.spec.key], reference, best, limits) for m in measurements]


def _rounds(measurement: Measurement) -> list[list[float]]:
    outcome = measurement.outcome
    return [sample.latencies_ms for sample in outcome.samples] if outcome else []


def _row(
    measurement: Measurement,
    rounds: list[list[float]],
    reference: list[list[float]],
    best: list[list[float]],
    limits: NetworkLimits | None,
) -> CandidateResult:
    spec, outcome, memory = measurement.spec, measurement.outcome, measurement.memory
    frames = [ms for sample in rounds for ms in sample]
    latency = summarise(frames) if frames else None
    joules = outcome.joules if outcome else []
    roofline = None
    if limits is not None and latency is not None:
        roofline = limits.roofline_ms.get(f"{spec.device}-{spec.precision}")

    def faster(than: list[list[float]]) -> SpeedUp | None:
        return speed_up(rounds, than) if rounds and than else None

    return CandidateResult(
        key=spec.key,
        summary=spec.entry.summary,
        precision=spec.precision,
        description=measurement.description,
        error=str(measurement.error) if measurement.error else None,
        error_detail=measurement.error.detail if measurement.error else "",
        start_up=measurement.start_up,
        warm_up=measurement.warm,
        latency=latency,
        rounds_ms=rounds,
        split_ms=_split(outcome),
        streamed_fps=measurement.streamed_fps,
        speed_up=faster(reference),
        speed_up_best=faster(best),
        peak_host_bytes=memory.host_bytes if memory else None,
        peak_device_bytes=memory.device_bytes if memory else None,
        model_bytes=model_bytes(spec.file) if spec.file else None,
        quality=measurement.quality,
        truth=measurement.truth,
        joules_per_frame=sum(joules) / len(frames) if joules and frames else None,
        roofline_share=roofline / latency.median_ms if roofline and latency else None,
        state_bytes=measurement.remembers.state_bytes,
        look_ahead=measurement.remembers.look_ahead,
    )


def _split(outcome: Outcome | None) -> dict[str, float]:
    splits = (
        [s for sample in outcome.samples for s in sample.splits_ms] if outcome else []
    )
    stages = list(dict.fromkeys(name for split in splits for name in split))
    return {
        stage: statistics.median(split[stage] for split in splits if stage in split)
        for stage in stages
    }
