"""Whether the network keeps up with its cameras, and who gives way where it does not.

The load is the share of its time that the network would need for every frame that
comes: above 1 it cannot keep up, whatever is done about the order. It is looked at
every few seconds. Where it is too much, that is said once, with the numbers; then the
cameras that were asked to (``--late slow``) get a lower rate, those of the lowest
priority first, so that what they show comes evenly and in time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from derain.runtime.pipeline.camera_stream import CameraStream

WINDOW_S = 5.0
BUDGET = 0.9  # of the network's time that lowered rates may fill: some jitter has room
LEAST_FPS = 1.0  # no camera is lowered below

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one camera asks of the network.

    Attributes:
        fps: Frames that come, per second.
        service_s: What the network needs for one, in seconds.
        priority: Those of a lower one give way first.
        slows: Whether its rate may be lowered.
    """

    fps: float
    service_s: float
    priority: int = 0
    slows: bool = False

    @property
    def load(self) -> float:
        """The share of its time that the network needs for all of them."""
        return self.fps * self.service_s


def lowered_rates(
    demands: Sequence[Demand], budget: float = BUDGET
) -> list[float | None]:
    """The rate of each camera in frames/s, so that all fit; None: as it comes.

    Whoever may not be lowered is served first, then the highest priority; within a
    priority all give the same share.
    """
    left = budget - sum(each.load for each in demands if not each.slows)
    rates: list[float | None] = [None] * len(demands)
    slowing = [number for number, each in enumerate(demands) if each.slows]
    slowing.sort(key=lambda number: -demands[number].priority)
    for _, group in groupby(slowing, key=lambda number: demands[number].priority):
        numbers = list(group)
        wanted = sum(demands[number].load for number in numbers)
        share = max(left, 0.0) / wanted if wanted else 1.0
        left -= wanted
        if share < 1:
            for number in numbers:
                rates[number] = max(LEAST_FPS, demands[number].fps * share)
    return rates


class LoadWatch:
    """Looks at the load of live cameras every few seconds.

    Args:
        clock: Seconds, monotonic.

    Attributes:
        is_behind: Whether more frames came lately than the network can take.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._before: dict[CameraStream, _Counts] = {}
        self._told = False
        self.is_behind = False

    def look(self, streams: Sequence[CameraStream]) -> None:
        """Take note of what `streams` have done; often enough is every second."""
        now = self._clock()
        live = [each for each in streams if each.capture.info.live]
        if self._before.keys() != set(live):  # another set: a window of its own
            self._begin(live, now)
            return
        seconds = now - self._since
        if seconds < WINDOW_S or not live:
            return
        demands = [self._demand(each, seconds) for each in live]
        load = sum(each.load for each in demands)
        self.is_behind = load > 1
        for stream in live:
            stream.options.statistics.load = load
        for stream, rate in zip(live, lowered_rates(demands), strict=True):
            stream.lower(rate if load > BUDGET else None)
        if self.is_behind and not self._told:
            self._told = True
            _log.warning(_behind(live, demands, load))
        self._begin(live, now)

    def _begin(self, live: Sequence[CameraStream], now: float) -> None:
        self._since = now
        self._before = {each: _Counts.of(each) for each in live}

    def _demand(self, stream: CameraStream, seconds: float) -> Demand:
        before, now = self._before[stream], _Counts.of(stream)
        served = now.served - before.served
        options = stream.options
        return Demand(
            fps=(now.needing - before.needing) / seconds,
            service_s=(now.busy_s - before.busy_s) / served if served else 0.0,
            priority=options.priority,
            slows=options.late == "slow",
        )


@dataclass(frozen=True, slots=True)
class _Counts:
    needing: int  # frames that have come, but for those that it was too dry for
    served: int
    busy_s: float

    @classmethod
    def of(cls, stream: CameraStream) -> _Counts:
        needing = stream.options.statistics["captured"] - stream.spared
        return cls(needing, stream.served, stream.busy_s)


def _behind(
    streams: Sequence[CameraStream], demands: Sequence[Demand], load: float
) -> str:
    fps = sum(each.fps for each in demands)
    service_ms = 1000 * load / fps
    who = f"{len(streams)} cameras bring" if len(streams) > 1 else "the source brings"
    return (
        f"cannot keep up: {who} {fps:.1f} frames/s, the network takes {service_ms:.1f} "
        f"ms a frame here, which is {fps / load:.1f} frames/s; "
        f"{'; '.join(_ways(streams))}. A smaller size or a faster bundle helps, or "
        "fewer frames at the source"
    )


def _ways(streams: Sequence[CameraStream]) -> list[str]:
    """What becomes of the frames that are too many, camera by camera."""
    ways: dict[str, list[str]] = {}
    for stream in streams:
        rate, late = stream.lowered_fps, stream.options.late
        if late == "slow":
            way = "as it comes" if rate is None else f"lowered to {rate:.1f} frames/s"
        elif late == "pass" and stream.options.max_latency_ms is not None:
            way = "what is too late passes through"
        else:
            way = "what is too much is dropped"
        ways.setdefault(way, []).append(stream.options.name)
    if len(streams) == 1:
        return list(ways)
    return [f"{', '.join(names)}: {way}" for way, names in ways.items()]
