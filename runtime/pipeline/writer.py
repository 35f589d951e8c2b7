"""A sink in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

from derain.core.bounded_queue import BoundedQueue
from derain.runtime.telemetry.statistics import SinkStatistics
from derain.runtime.video.frames import Frame, Sink

_QUEUED = 3  # frames of a file: as many as smooth out a key frame
_QUEUED_LIVE = 25  # frames of a camera for a sink that keeps them: a second, 70 MB


class Writer:
    """Writes to `sink` in a thread of its own, which also closes it.

    A sink behind a file makes the network wait. Behind a live source nothing waits: one
    that keeps frames (see `Sink.keeps`) has a queue of a second, another one gets
    the newest frame; what it is too slow for is dropped and counted.

    Args:
        sink: Where frames go.
        statistics: Told what happens.
        live: Whether the source is live.
        on_written: Told after every live frame how long it took from `put`, in seconds.

    Attributes:
        sink: The same.
        written: How many frames of the source were written.
        error: What it failed with, or None.
    """

    def __init__(
        self,
        sink: Sink,
        statistics: SinkStatistics,
        *,
        live: bool,
        on_written: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.sink = sink
        self.written = 0
        self.error: BaseException | None = None
        self._statistics = statistics
        self._on_written = on_written
        self._whole = False
        capacity = _QUEUED if not live else _QUEUED_LIVE if sink.keeps else 1
        self._queue: BoundedQueue[tuple[Frame, float]] = BoundedQueue(
            capacity, waits=not live, dropped=self._dropped
        )
        self._thread = threading.Thread(
            target=self._run, name=f"sink {statistics.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, frame: Frame) -> None:
        """Hand over the next frame; a sink that has failed takes none."""
        self._queue.put((frame, time.monotonic()))

    def end(self, *, whole: bool) -> None:
        """No frame will follow; `whole` if the source has come to its end."""
        self._whole = whole
        self._queue.end()

    def join(self) -> None:
        """Wait until the sink is closed."""
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(self.sink):
                while (item := self._queue.get()) is not None:
                    self._write(*item)
                if self._whole:
                    self.sink.finish()
        # Of any type: it is reported by the thread that owns the run.
        except BaseException as error:
            self.error = error
            self._statistics.failed = True
            self._queue.cancel()

    def _write(self, frame: Frame, handed_over: float) -> None:
        started = time.monotonic()
        self.sink.write(frame)
        done = time.monotonic()
        self.written += frame.signal
        self._statistics.written += 1
        self._statistics.wait.add((started - handed_over) * 1000)
        self._statistics.write.add((done - started) * 1000)
        if frame.captured is not None and frame.signal:
            self._statistics.age.add((done - frame.captured) * 1000)
            self._on_written(done - handed_over)

    def _dropped(self, item: tuple[Frame, float]) -> None:
        self._statistics.dropped += 1
