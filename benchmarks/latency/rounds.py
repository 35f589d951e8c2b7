"""Rows taking turns: warm-up until each has settled, then round by round.

What drifts, such as a clock, a temperature or another program, then hits all alike.
"""

from __future__ import annotations

import functools
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from derain.benchmarks.latency.power import EnergyMeter
from derain.benchmarks.latency.runners import Runner, Sample, error_arguments
from derain.core.errors import CandidateError
from derain.core.progress import Progress, phase_line

# Threads of the row before spin for some milliseconds before they sleep (libgomp and
# ONNX Runtime do), and would take part in the next row's first frame.
_REST_SECONDS = 0.02
_MOST_FRAMES = 200  # of one sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to measure.

    Attributes:
        duration_s: Rounds go on for so long, all rows together.
        min_rounds: And until there are so many.
        sample_s: A row derains as many frames in a round as fit into this, at least
            one.
        window_s: Warm-up compares windows of this length, and of five frames at least.
        settled: Relative difference of the medians of two windows that follow each
            other, below which a row counts as warm.
        warm_up_s: A row that has not settled by then is measured as it is.
    """

    duration_s: float = 20.0
    min_rounds: int = 5
    sample_s: float = 0.5
    window_s: float = 0.25
    settled: float = 0.02
    warm_up_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How a row got warm.

    Attributes:
        frames: How many it took, the very first one not counted.
        seconds: How long.
        settled: Whether it settled, or the time was up.
    """

    frames: int
    seconds: float
    settled: bool


@dataclass(slots=True)
class Outcome:
    """What the rounds made of one row.

    Attributes:
        samples: One for each round.
        joules: Energy of each sample; empty where it cannot be read.
        error: Why it left; None where it did not.
    """

    samples: list[Sample] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    error: CandidateError | None = None


def warm_up(runner: Runner, pace: Pace) -> tuple[WarmUp, float]:
    """Let `runner` derain until it has settled; how, and its latency then, in ms."""
    latencies: list[float] = []
    started = time.perf_counter()
    before = None
    while True:
        window: list[float] = []
        while len(window) < 5 or sum(window) < pace.window_s * 1000:
            window += runner.sample(1).latencies_ms
            if time.perf_counter() - started > pace.warm_up_s:
                break
        latencies += window
        median = statistics.median(window)
        elapsed = time.perf_counter() - started
        settled = before is not None and abs(median / before - 1) < pace.settled
        if settled or elapsed > pace.warm_up_s:
            warm = WarmUp(frames=len(latencies), seconds=elapsed, settled=settled)
            return warm, median
        before = median


def interleave(
    runners: Mapping[str, Runner],
    typical_ms: Mapping[str, float],
    pace: Pace,
    meter: EnergyMeter | None,
) -> dict[str, Outcome]:
    """Measure all `runners`, round by round.

    Args:
        runners: The rows, by name.
        typical_ms: Latency of each, from the warm-up.
        pace: How long.
        meter: Reads the energy; None where there is none.

    Returns:
        For each row; one that failed has its error, and what it did before.
    """
    counts = {
        key: max(1, min(_MOST_FRAMES, int(pace.sample_s * 1000 / typical_ms[key])))
        for key in runners
    }
    outcomes = {key: Outcome() for key in runners}
    order = list(runners)
    shuffled = random.Random(0)
    started = time.perf_counter()
    done = 0
    progress = Progress()
    while order and (
        done < pace.min_rounds or time.perf_counter() - started < pace.duration_s
    ):
        for key in list(order):
            outcome = outcomes[key]
            time.sleep(_REST_SECONDS)
            joules = meter.joules() if meter else 0.0
            try:
                outcome.samples.append(runners[key].sample(counts[key]))
            except Exception as error:  # of whatever library the row runs
                outcome.error = CandidateError(*error_arguments(error))
                order.remove(key)
                continue
            if meter:
                outcome.joules.append(meter.joules() - joules)
        shuffled.shuffle(order)  # nobody always comes after the same row
        done += 1
        seconds = time.perf_counter() - started
        part = min(1.0, done / pace.min_rounds, seconds / max(pace.duration_s, 1e-9))
        progress.update(functools.partial(phase_line, part, f"round {done}"))
    progress.close()
    return outcomes
