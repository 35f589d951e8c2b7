"""One process of `derain.benchmarks.latency.cameras`: runs rounds that it is told of.

A line of JSON on standard input is a `Round`, a line on standard output what it gave.
The loop is that of ``derain-run``; sources are paced and cost nothing, sinks are null.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import MediaError, SourceLostError
from derain.core.sizes import Size
from derain.runtime.pipeline.camera_stream import CameraStream
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.engine import Engine
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.options import RunOptions
from derain.runtime.pipeline.scheduler import Scheduler
from derain.runtime.session import Session
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks.null import NullSink

Trouble = Literal["none", "lost", "flood"]
_FLOOD_FPS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a process is to do.

    Attributes:
        cameras: How many.
        fps: Of each, in frames/s.
        seconds: For how long.
        max_latency_ms: Of each; None: the newest frame wins.
        trouble: What the last of them does.
    """

    cameras: int
    fps: float
    seconds: float
    max_latency_ms: float | None = None
    trouble: Trouble = "none"


class _Paced:
    """One picture, `fps` times a second, as a camera; it may be lost half a second."""

    def __init__(
        self,
        image: NDArray[np.uint8],
        fps: float,
        *,
        phase: float = 0.0,
        lost: bool = False,
        announced: float | None = None,
    ) -> None:
        self._image, self._fps, self._lost = image, fps, lost
        self._phase = phase
        self.info = SourceInfo(
            description="paced",
            time_base=Fraction(1, 90_000),
            fps=Fraction(announced or fps).limit_denominator(1000),
            size=Size(image.shape[1], image.shape[0]),
            live=True,
        )

    def __iter__(self) -> Iterator[Frame]:
        started = time.monotonic() + self._phase / self._fps
        for index in itertools.count():
            due = started + index / self._fps
            time.sleep(max(0.0, due - time.monotonic()))
            if self._lost and index == round(self._fps / 2):
                raise SourceLostError("lost, for the benchmark")
            moment = Fraction(index, 1) / self.info.fps
            yield Frame(self._image, index, moment, captured=time.monotonic())

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def _refused() -> _Paced:
    raise MediaError("not there, for the benchmark")


class _Process:
    def __init__(self, stack: ExitStack, bundle: Bundle, threads: int) -> None:
        options = RunOptions(backend="auto", threads=threads)
        self._engine = Engine(bundle, options)
        self._engine.load(stack)
        self._image, _ = bundle.golden_frames()
        self._outside: list[tuple[float, float]] = []

    def run(self, wanted: Round) -> dict[str, Any]:
        cpu = time.process_time()
        rows = [Statistics() for _ in range(wanted.cameras)]
        self._outside.clear()
        with ExitStack() as stack:
            streams = [
                self._stream(stack, number, row, wanted)
                for number, row in enumerate(rows)
            ]
            started = time.monotonic()
            scheduler = Scheduler(
                streams, stopped=lambda: time.monotonic() - started > wanted.seconds
            )
            try:
                scheduler.run()
            finally:
                for stream in streams:
                    stream.close()
        seconds = time.monotonic() - started
        captured = sum(row["captured"] for row in rows)
        served = sum(stream.served for stream in streams)
        return {
            "derained": sum(row["derained"] for row in rows),
            "captured": captured,
            "seconds": seconds,
            "cpu_seconds": time.process_time() - cpu,
            "service_ms": 1000 * sum(s.busy_s for s in streams) / max(1, served),
            "age_p95_ms": [_p95(row) for row in rows],
            "lost": [row["dropped"] / max(1, row["captured"]) for row in rows],
            "outside_ms": _median([wall for wall, _ in self._outside]),
            "outside_cpu_ms": _median([cpu for _, cpu in self._outside]),
            **_memory(),
        }

    def _stream(
        self, stack: ExitStack, number: int, row: Statistics, wanted: Round
    ) -> CameraStream:
        memory = stack.enter_context(closing(self._engine.memory()))
        memory.session.derain(self._image)  # what is new in a memory is made now
        memory.session.reset()
        trouble = wanted.trouble if number == wanted.cameras - 1 else "none"
        fps = _FLOOD_FPS if trouble == "flood" else wanted.fps
        source = _Paced(
            self._image,
            fps,
            phase=number / wanted.cameras,
            lost=trouble == "lost",
            announced=wanted.fps,
        )
        capture = Capture(source, row, reopen=_refused if trouble == "lost" else None)
        sink = NullSink("null:", source.info, SinkOptions())
        options = LoopOptions(
            name=f"camera {number}",
            statistics=row,
            max_latency_ms=wanted.max_latency_ms,
        )
        timed: Any = _TimedSession(memory.session, self._outside)
        stream = CameraStream(capture, timed, [sink], options)
        stream.start()
        return stream


class _TimedSession:
    """A session that notes the time between its calls, and the processor's in it.

    That is what the loop does beside the network: choosing, copying, handing over; and
    of the time, not of the processor's, waiting for a frame where none is there.
    """

    _ended: tuple[float, float] | None = None  # of all of them: the loop is one

    def __init__(self, session: Session, outside: list[tuple[float, float]]) -> None:
        self._session = session
        self._outside = outside

    def derain(self, frame: NDArray[np.uint8]) -> Any:
        began = time.perf_counter(), time.thread_time()
        if (ended := _TimedSession._ended) is not None:
            wall, cpu = (1000 * (b - e) for b, e in zip(began, ended, strict=True))
            self._outside.append((wall, cpu))
        result = self._session.derain(frame)
        _TimedSession._ended = time.perf_counter(), time.thread_time()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def _p95(row: Statistics) -> float | None:
    found = row.sinks[0].age.percentiles()
    return None if found is None else found["p95"]


def _memory() -> dict[str, int]:
    """Bytes that this process alone has, and those that others may share."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    sizes = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in text.splitlines()[1:]
    }
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"own_bytes": own, "shared_bytes": sizes["Rss"] - own}


def main() -> None:
    """Do what standard input says, until it ends."""
    folder, threads = sys.argv[1:]
    with ExitStack() as stack:
        process = _Process(stack, Bundle.open(Path(folder)), int(threads))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            sys.stdout.write(json.dumps(process.run(Round(**json.loads(line)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
