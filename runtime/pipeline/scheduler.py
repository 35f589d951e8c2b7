"""Whose frame is next: several cameras, one network, earliest deadline first.

A camera's frame should be out `max_latency_ms` after it came, or, where nobody says,
before the next one comes. The deadline counts from when a frame began to wait, not from
the newest one that took its place: else a fast camera would always look young. A camera
that sends more than it said has its deadlines put off by its own period, so that it
gets what is left and takes nothing from the others (as a constant bandwidth server
does: Abeni and Buttazzo, RTSS 1998). A file has no deadline: it gets what is left, too,
and several files take turns.

While more frames come than the network can take, those of a higher priority go first.

Where several frames in one call are faster, those that wait go along with the first, in
that order. None is held back for it: what is not there yet goes with the next call. Nor
is any made late by it, where somebody says what is late.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from derain.core.errors import StreamError
from derain.runtime.pipeline.batching import Batching
from derain.runtime.pipeline.camera_stream import TICK_S, CameraStream
from derain.runtime.pipeline.load import LoadWatch
from derain.runtime.session import NetworkCall

_log = logging.getLogger(__name__)


class Scheduler:
    """Serves cameras until none is left, in the thread that opened the network.

    Args:
        streams: The cameras, started.
        stopped: Asked before every frame, and while none comes, whether to stop here.
        heartbeat: Called as often, for a watchdog.
        between: Called as often, after it; may `add` and `remove` cameras.
        ended: Told of every camera that is over, which is still to be closed.
        contains: Whether an error that is not ours, a bug, ends its camera alone.
        batching: Runs frames of several cameras together; None: one by one.
    """

    def __init__(
        self,
        streams: Iterable[CameraStream] = (),
        *,
        stopped: Callable[[], object] = lambda: False,
        heartbeat: Callable[[], None] = lambda: None,
        between: Callable[[], None] = lambda: None,
        ended: Callable[[CameraStream], None] = lambda stream: None,
        contains: bool = False,
        batching: Batching | None = None,
    ) -> None:
        self._contains = contains
        self._batching = batching
        self._stopped = stopped
        self._heartbeat = heartbeat
        self._between = between
        self._ended = ended
        self._wake = threading.Event()
        self._turns: dict[CameraStream, _Turn] = {}
        self._load = LoadWatch()
        self._next_tick = 0.0
        for stream in streams:
            self.add(stream)

    def add(self, stream: CameraStream) -> None:
        """Serve `stream`, too."""
        self._turns[stream] = _Turn(stream)
        stream.capture.changed = self._wake.set
        self._wake.set()

    def remove(self, stream: CameraStream) -> None:
        """Serve `stream` no more; what is under way goes out."""
        stream.stop()
        self._turns.pop(stream, None)

    def run(self, *, waits: Callable[[], bool] = lambda: False) -> None:
        """Serve until no camera is left, or until it is stopped.

        Args:
            waits: Whether cameras may be added although none is there.
        """
        while (self._turns or waits()) and not self._stopped():
            self._heartbeat()
            self._wake.clear()
            self._between()
            turns = self._next()
            if self._batching is not None:
                self._serve(turns, self._batching)
            elif turns:
                self._do(turns[0].stream, turns[0].serve)
            if not turns or time.monotonic() >= self._next_tick:
                self._tend()
            if not turns and not self._next() and self._turns:
                self._wake.wait(self._pause())
            elif not self._turns and waits():
                self._wake.wait(TICK_S)
        for stream in list(self._turns):
            stream.stop()

    def _next(self) -> list[_Turn]:
        """Whose frame is next; several, where they go together."""
        now = time.monotonic()
        ready = [each for each in self._turns.values() if each.is_ready(now)]
        if len(ready) < 2:
            return ready
        by_priority, batching = self._load.is_behind, self._batching
        ready.sort(key=lambda each: each.rank(now, by_priority=by_priority))
        if batching is None:
            return ready[:1]
        alike = [each for each in ready if each.kind == ready[0].kind]
        together = alike[: batching.size]
        gains = len(together) >= batching.least
        if gains and batching.keeps([each.left_s(now) for each in together]):
            return together
        return ready[:1]

    def _serve(self, turns: list[_Turn], batching: Batching) -> None:
        begun: dict[NetworkCall, CameraStream] = {}
        for turn in turns:

            def begin(turn: _Turn = turn) -> None:
                call = turn.begin()
                if call is not None:
                    turn.kind = batching.kind(call)
                    begun[call] = turn.stream

            self._do(turn.stream, begin)
        for calls in batching.run(list(begun)):
            for call in calls:
                self._do(begun[call], partial(begun[call].finish, call))

    def _tend(self) -> None:
        self._next_tick = time.monotonic() + TICK_S
        for stream in list(self._turns):
            self._do(stream, stream.tend)
            if stream.over:
                del self._turns[stream]
                self._ended(stream)
        self._load.look(list(self._turns))

    def _do(self, stream: CameraStream, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if not self._contains:
                raise
            _log.debug("a bug", exc_info=True)
            stream.fail(StreamError(f"{type(error).__name__}: {error}"))

    def _pause(self) -> float:
        """Until something is to be done although nothing comes, in seconds."""
        now = time.monotonic()
        begins = [
            each.stream.may_begin - now
            for each in self._turns.values()
            if each.stream.may_begin > now
        ]
        return min([TICK_S, *begins])


class _Turn:
    """When one camera is next."""

    def __init__(self, stream: CameraStream) -> None:
        self.stream = stream
        info, bound_ms = stream.capture.info, stream.options.max_latency_ms
        self._live = info.live
        self._period_s = float(1 / info.fps)
        self._bound_s = self._period_s if bound_ms is None else bound_ms / 1000
        self._released = 0.0
        self._served = 0.0
        self.kind: object = None  # of its last call, see `Batching.kind`

    def is_ready(self, now: float) -> bool:
        stream = self.stream
        return stream.waiting_since is not None and now >= stream.may_begin

    def rank(self, now: float, *, by_priority: bool) -> tuple[float, float, float]:
        """The smallest is next: priority, deadline, and when it was served last."""
        priority = -self.stream.options.priority if by_priority else 0
        deadline = self._release(now) + self._bound_s if self._live else math.inf
        return priority, deadline, self._served

    def left_s(self, now: float) -> float | None:
        """Until its frame must be out; None where nobody says, or it is of a file."""
        bound_ms = self.stream.options.max_latency_ms
        if not self._live or bound_ms is None:
            return None
        return (self.stream.waiting_since or now) + bound_ms / 1000 - now

    def serve(self) -> None:
        """Take its frame through the network."""
        self._take_turn()
        self.stream.serve()

    def begin(self) -> NetworkCall | None:
        """As `CameraStream.begin`."""
        self._take_turn()
        return self.stream.begin()

    def _take_turn(self) -> None:
        now = time.monotonic()
        self._released, self._served = self._release(now), now
        stream = self.stream
        if stream.lowered_fps is not None:
            # From when it was allowed, or every frame would come a little later.
            period_s = 1 / stream.lowered_fps
            stream.may_begin = max(stream.may_begin + period_s, now)

    def _release(self, now: float) -> float:
        since = self.stream.waiting_since or now
        return max(since, min(self._released, now) + self._period_s)
