"""What a run has counted and timed so far: one object, for lines, metrics and pages.

It is bounded: percentiles are of the last 1024 values. All of it may be used from any
thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from derain.runtime.telemetry.sensors import Sensors
from derain.runtime.telemetry.timing import Timing

Counter = Literal[
    "captured",  # frames that came out of the source
    "derained",  # of them: went through the network, and on to the sinks
    "batched",  # in one call of the network with other cameras' frames
    "passed_through",  # of them: went on to the sinks as they were
    "dropped",  # of them: went nowhere
    "late",  # of the two above: for want of time, under --max-latency-ms
    "looks",  # of passed_through: went through the network to see whether it rains
    "reconnects",  # times that a lost source came back
    "no_signal",  # stand-ins shown while it was lost
]
COUNTERS: tuple[Counter, ...] = (
    "captured",
    "derained",
    "batched",
    "passed_through",
    "dropped",
    "late",
    "looks",
    "reconnects",
    "no_signal",
)
ResetCause = Literal[
    "source",  # it was lost
    "size",  # frames of another one, be it for another bundle
    "cut",  # another scene
    "dropped",  # more than a few frames in a row did not reach the network
    "gate",  # it was dry, and frames went past the network
    "nan",  # what it remembered was no number any more
]
State = Literal[
    "opening",  # its source is not there yet
    "running",
    "ended",  # its source has, or it was taken out
    "failed",
]
STATES: tuple[State, ...] = get_args(State)
RESET_CAUSES: tuple[ResetCause, ...] = get_args(ResetCause)
_KEPT = 1024  # moments, for the rate
_RATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What runs, for metrics and pages.

    Attributes:
        source: What it is called, without credentials.
        bundle: Name of its folder.
        backend: What really runs the network.
        version: Of derain.
    """

    source: str
    bundle: str
    backend: str
    version: str


class SinkStatistics:
    """What happened at one sink.

    Attributes:
        name: What the user calls it.
        written: Frames written, stand-ins without signal included.
        dropped: Frames it was too slow for, or that came after it had failed.
        failed: Whether it has failed.
        wait: Time between the network and the sink.
        write: Time in its ``write``.
        age: Time from the capture of a live frame to the end of its ``write``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.written = 0
        self.dropped = 0
        self.failed = False
        self.wait = Timing()
        self.write = Timing()
        self.age = Timing()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sink": self.name,
            "written": self.written,
            "dropped": self.dropped,
            "failed": self.failed,
            "wait_ms": self.wait.percentiles(),
            "write_ms": self.write.percentiles(),
            "age_ms": self.age.percentiles(),
        }


class Statistics:
    """Everything a run has to say about itself.

    At the end of a run, and whenever no frame is under way,
    ``captured == derained + passed_through + dropped``.

    Args:
        clock: Seconds, monotonic.

    Attributes:
        read: Time the source took for a frame: waiting for it, and decoding.
        wait: Time a frame lay between source and network.
        derain: Time in the network.
        sinks: One row for each sink, the first one first.
        about: What runs; None while that is not known.
        state: What it is at.
        gate: What the rain gate has decided; None where it is off.
        rain: What it measured last, in grey levels.
        signal: Whether a live source delivers.
        load: Of live sources, the share of its time that the network would need for all
            frames that come, of all cameras together; above 1 it cannot keep up. None
            while that is not known.
        resets: How often what a network remembers was given up, by cause; None where no
            network remembers anything.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._counts: dict[Counter, int] = dict.fromkeys(COUNTERS, 0)
        self._finished_at: deque[float] = deque(maxlen=_KEPT)
        self._sensors = Sensors()
        self.read = Timing()
        self.wait = Timing()
        self.derain = Timing()
        self.sinks: list[SinkStatistics] = []
        self.about: About | None = None
        self.state: State = "running"
        self.gate: Literal["rain", "dry"] | None = None
        self.rain: float | None = None
        self.signal = True
        self.load: float | None = None
        self.resets: dict[ResetCause, int] | None = None

    def cameras(self) -> Sequence[tuple[str, Statistics]]:
        """See `Watched.cameras`: one without a name."""
        return [("", self)]

    def count(self, counter: Counter, number: int = 1) -> None:
        """Add `number` to `counter`."""
        with self._lock:
            self._counts[counter] += number
            if counter in ("derained", "passed_through"):
                self._finished_at.append(self._clock())

    def count_resets(self) -> None:
        """From here on, `resets` is a number for each cause."""
        with self._lock:
            self.resets = self.resets or dict.fromkeys(RESET_CAUSES, 0)

    def count_reset(self, cause: ResetCause) -> None:
        """Add one to `resets`, after `count_resets`."""
        with self._lock:
            assert self.resets is not None
            self.resets[cause] += 1

    def __getitem__(self, counter: Counter) -> int:
        with self._lock:
            return self._counts[counter]

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._started

    @property
    def fps(self) -> float:
        """Frames that went on to the sinks in the last five seconds, per second."""
        now = self._clock()
        since = max(now - _RATE_SECONDS, self._started)
        with self._lock:
            times = list(self._finished_at)
        if len(times) == _KEPT:  # more than that in five seconds
            since = max(since, times[0])
        recent = sum(moment > since for moment in times)
        return recent / (now - since) if now > since else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every counter and attribute by its name. Temperatures are in °C.

        ``age_ms`` is that of the first sink, which ``--max-latency-ms`` is about.
        """
        with self._lock:
            counts = {str(name): number for name, number in self._counts.items()}
            resets = self.resets and dict(self.resets)
        return {
            "about": None if self.about is None else asdict(self.about),
            "state": self.state,
            "seconds": round(self.seconds, 3),
            **counts,
            "resets": resets,
            "fps": round(self.fps, 3),
            "signal": self.signal,
            "load": None if self.load is None else round(self.load, 3),
            "gate": self.gate,
            "rain": None if self.rain is None else round(self.rain, 3),
            "read_ms": self.read.percentiles(),
            "wait_ms": self.wait.percentiles(),
            "derain_ms": self.derain.percentiles(),
            "age_ms": self.sinks[0].age.percentiles() if self.sinks else None,
            "sink_failures": sum(sink.failed for sink in self.sinks),
            "sinks": [sink.as_dict() for sink in self.sinks],
            **self._sensors.read(),
        }
