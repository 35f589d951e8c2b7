"""How many cameras a machine carries, and what one process for all of them is worth.

``derain-bench cameras BUNDLE --cameras 4 --fps 15``. The alternatives take turns, round
by round, in processes that stay: one process with all cameras, and as many processes
with one each. Sources and sinks cost nothing: decoding and coding come on top.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from derain.benchmarks.latency.camera_rounds import Round, Trouble
from derain.core.bundle import Bundle
from derain.core.errors import BenchmarkError

_log = logging.getLogger(__name__)

# Of each camera, where the network is to be always busy: so many times what it takes,
# and no more than this, as frames that are not taken cost something, too.
_FULL, _FULL_FPS = 2.0, 240.0
_LOST = 0.02  # of the frames of a camera that is carried


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraBenchmark:
    """What was measured; lists have a value for each round.

    Attributes:
        bundle: Which bundle ran.
        cameras: How many cameras.
        fps: Of each, in frames/s.
        max_latency_ms: The bound on the age of their frames.
        service_ms: What the network takes for a frame, with one camera.
        carried: How many were in time: 95 of 100 frames within the bound, and no more
            than one in fifty lost, of every camera.
        tried: For each number of cameras that was tried, the worst camera's 95th
            percentile of the age in ms, and the share of its frames that were lost.
        memory_ratio: Bytes of one process with all cameras over those of one each.
        one_bytes: Of one process with all cameras.
        each_bytes: Of as many processes with one each; what they share counts once.
        throughput_ratios: Frames/s of one process over those of one each, with the
            network always busy.
        efficiency_ratios: The same of frames for each second of the processor's time,
            which other programs change less: they take more of it from one process
            than from several.
        overhead_ms: Time between two calls of the network, with the network always
            busy and all cameras in one process.
        overhead_cpu_ms: The processor's time of the loop in it, which other programs
            do not change.
        overhead_alone_cpu_ms: The same with one camera.
        age_ratios: For each trouble of the last camera ("none" is another round like
            the first, for comparison), the first camera's 95th percentile of the age
            over that of a round without.
    """

    bundle: str
    cameras: int
    fps: float
    max_latency_ms: float
    service_ms: float
    carried: int
    tried: dict[int, tuple[float, float]]
    memory_ratio: float
    one_bytes: int
    each_bytes: int
    throughput_ratios: list[float]
    efficiency_ratios: list[float]
    overhead_ms: list[float]
    overhead_cpu_ms: list[float]
    overhead_alone_cpu_ms: list[float]
    age_ratios: dict[str, list[float]]

    def text(self) -> str:
        """For a terminal."""
        n = self.cameras
        more = "" if self.carried < n else " (of as many as were tried)"
        tried = ", ".join(
            f"{count}: p95 age {age:.0f} ms, {lost:.1%} lost"
            for count, (age, lost) in sorted(self.tried.items())
        )
        lines = [
            f"bundle      {self.bundle}, {self.service_ms:.1f} ms a frame here",
            f"carries     {self.carried} cameras at {self.fps:g} frames/s within "
            f"{self.max_latency_ms:g} ms{more}",
            f"tried       {tried}",
            f"memory      one process with {n} cameras {self.one_bytes / 1e6:.0f} MB, "
            f"{n} processes {self.each_bytes / 1e6:.0f} MB: {self.memory_ratio:.2f} x",
            f"throughput  {_spread(self.throughput_ratios)} x that of {n} processes, "
            f"{_spread(self.efficiency_ratios)} x for a second of the processor",
            f"loop        {_spread(self.overhead_ms)} ms a frame beside the network, "
            f"{_spread(self.overhead_cpu_ms)} ms of the processor; with one camera "
            f"{_spread(self.overhead_alone_cpu_ms)} ms of it",
        ]
        lines += [
            f"age         of the first camera, the last one {_WORDS[trouble]}: "
            f"{_spread(ratios)} x"
            for trouble, ratios in self.age_ratios.items()
        ]
        return "\n".join(lines)


_WORDS = {
    "none": "as the others (noise of the method)",
    "lost": "is lost",
    "flood": "sends 500 frames/s",
}


def measure_cameras(
    folder: Path,
    *,
    cameras: int,
    fps: float,
    max_latency_ms: float,
    rounds: int,
    seconds: float,
    threads: int,
) -> CameraBenchmark:
    """Measure `cameras` cameras on the bundle in `folder`.

    Raises:
        DerainError: There is no bundle, or it does not run.
    """
    Bundle.open(folder)
    with ExitStack() as stack:
        _log.info("starting %d processes", cameras + 1)
        one, *each = [
            stack.enter_context(_Child(folder, threads)) for _ in range(cameras + 1)
        ]
        for child in (one, *each):
            warm = child.run(Round(cameras=1, fps=fps, seconds=0.5))
        busy_fps = min(_FULL_FPS, _FULL * 1000 / (warm["service_ms"] or 1))
        full = Round(cameras=1, fps=max(fps, busy_fps), seconds=seconds)
        together, apart, alone = [], [], []
        for number in range(rounds):
            _log.info("one process against %d, round %d", cameras, number + 1)
            together.append(one.run(Round(**{**asdict(full), "cameras": cameras})))
            apart.append(_at_once(each, full))
            alone.append(one.run(full))
        ages: dict[str, list[float]] = {"none": [], "lost": [], "flood": []}
        for number in range(rounds):
            _log.info("trouble with one camera, round %d", number + 1)
            healthy = one.run(_with("none", cameras, fps, seconds))
            for trouble, ratios in ages.items():
                found = one.run(_with(trouble, cameras, fps, seconds))
                ratios.append(_age(found) / _age(healthy))
        _log.info("how many are carried")
        first = one.run(_bounded(1, fps, seconds, max_latency_ms))
        carried, tried = _carried(one, cameras, fps, seconds, max_latency_ms)
    each_bytes = sum(row["own_bytes"] for row in apart[0]) + max(
        row["shared_bytes"] for row in apart[0]
    )
    one_bytes = together[0]["own_bytes"] + together[0]["shared_bytes"]
    return CameraBenchmark(
        bundle=folder.name,
        cameras=cameras,
        fps=fps,
        max_latency_ms=max_latency_ms,
        service_ms=first["service_ms"],
        carried=carried,
        tried=tried,
        memory_ratio=one_bytes / each_bytes,
        one_bytes=one_bytes,
        each_bytes=each_bytes,
        throughput_ratios=[
            _rate([a]) / _rate(b) for a, b in zip(together, apart, strict=True)
        ],
        efficiency_ratios=[
            _frames_for_cpu([a]) / _frames_for_cpu(b)
            for a, b in zip(together, apart, strict=True)
        ],
        overhead_ms=[row["outside_ms"] for row in together],
        overhead_cpu_ms=[row["outside_cpu_ms"] for row in together],
        overhead_alone_cpu_ms=[row["outside_cpu_ms"] for row in alone],
        age_ratios=ages,
    )


def _with(trouble: Any, cameras: int, fps: float, seconds: float) -> Round:
    chosen: Trouble = trouble
    return Round(cameras=cameras, fps=fps, seconds=seconds, trouble=chosen)


def _bounded(cameras: int, fps: float, seconds: float, bound_ms: float) -> Round:
    return Round(cameras=cameras, fps=fps, seconds=seconds, max_latency_ms=bound_ms)


def _carried(
    child: _Child, most: int, fps: float, seconds: float, bound_ms: float
) -> tuple[int, dict[int, tuple[float, float]]]:
    """The greatest number that is in time, by halving, and what was tried for it."""
    tried: dict[int, tuple[float, float]] = {}
    low, high = 0, most
    count = most
    while low < high:
        found = child.run(_bounded(count, fps, seconds, bound_ms))
        ages = [age for age in found["age_p95_ms"] if age is not None]
        age = max(ages) if len(ages) == count else float("inf")
        lost = max(found["lost"])
        tried[count] = (age, lost)
        if age <= bound_ms and lost <= _LOST:
            low = count
        else:
            high = count - 1
        count = (low + high + 1) // 2
    return low, tried


class _Child:
    """A process that runs rounds; ``with _Child(...) as child:``."""

    def __init__(self, folder: Path, threads: int) -> None:
        module = "derain.benchmarks.latency.camera_rounds"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Child:
        self._line()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def begin(self, wanted: Round) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(wanted)) + "\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._line())
        return found

    def run(self, wanted: Round) -> dict[str, Any]:
        self.begin(wanted)
        return self.result()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            said = self._process.stderr.read().strip().splitlines()
            raise BenchmarkError(
                f"a process failed: {said[-1] if said else 'silently'}"
            )
        return line


def _at_once(children: Sequence[_Child], wanted: Round) -> list[dict[str, Any]]:
    for child in children:
        child.begin(wanted)
    return [child.result() for child in children]


def _rate(rows: Sequence[dict[str, Any]]) -> float:
    return float(sum(row["derained"] / row["seconds"] for row in rows))


def _frames_for_cpu(rows: Sequence[dict[str, Any]]) -> float:
    done = sum(row["derained"] for row in rows)
    return float(done / sum(row["cpu_seconds"] for row in rows))


def _age(row: dict[str, Any]) -> float:
    age = row["age_p95_ms"][0]
    if age is None:
        raise BenchmarkError("no frame of the first camera came out; give more seconds")
    return float(age)


def _spread(values: Sequence[float]) -> str:
    """The median, and the least and the greatest."""
    text = f"{statistics.median(values):.2f}"
    return f"{text} [{min(values):.2f}-{max(values):.2f}]"
