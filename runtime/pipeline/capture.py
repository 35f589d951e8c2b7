"""The source's thread: frames into the queue, and a lost source opened again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice

from derain.core.bounded_queue import BoundedQueue
from derain.core.errors import MediaError, SourceLostError
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame, Source

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
_QUEUED = 3  # frames of a file that are read ahead
_PATIENCE_S = 10.0  # for a source that does not return


class Capture:
    """Reads `source` in a thread of its own, which also closes it.

    Args:
        source: What is read.
        statistics: Told what was captured, dropped and lost.
        limit: Read no more frames than this.
        reopen: Opens the source anew after a `SourceLostError`; None: not at all.

    Attributes:
        queue: Where the frames are; it ends as the source does.
        lost_since: Since when the source is lost, by ``time.monotonic()``; None while
            it delivers.
    """

    def __init__(
        self,
        source: Source,
        statistics: Statistics,
        *,
        limit: int | None = None,
        reopen: Callable[[], Source] | None = None,
    ) -> None:
        self._source = source
        self._statistics = statistics
        self._limit = limit
        self._reopen = reopen
        self._stopped = threading.Event()
        self._closing = threading.Lock()
        self._closed = False
        self.lost_since: float | None = None
        self._live = live = source.info.live
        self.queue: BoundedQueue[tuple[Frame, float]] = BoundedQueue(
            1 if live else _QUEUED,
            waits=not live,
            dropped=lambda item: statistics.count("dropped"),
        )
        self._thread = threading.Thread(target=self._read, name="source", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more, and wait for the source to be closed.

        A live source is closed from here, so that nobody waits for a frame that may
        never come. One that hangs all the same is left alone after ten seconds: its
        thread does not keep the process alive.
        """
        self._stopped.set()
        self.queue.cancel()
        try:
            if self._live:
                self._close()
        finally:
            self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            _log.warning(f"{self._source.info.description} does not stop; left behind")

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            frames = islice(self._frames(), self._limit)
            while True:
                started = time.perf_counter()
                frame = next(frames, None)
                if frame is None or self._stopped.is_set():
                    break
                self._statistics.read.add((time.perf_counter() - started) * 1000)
                self._statistics.count("captured")
                if not self.queue.put((frame, time.monotonic())):
                    break
        # Of any type: it is carried to the thread that reads the queue.
        except BaseException as caught:
            error = caught
        try:
            self._close()
        except BaseException as caught:
            error = error or caught
        self.queue.end(error)

    def _close(self) -> None:
        """Close the source at hand, unless the other thread does."""
        with self._closing:
            source, closed, self._closed = self._source, self._closed, True
        if not closed:
            source.close()

    def _frames(self) -> Iterator[Frame]:
        """The frames of the source, and of those that take its place."""
        clock = _Clock(self._source)
        again = False  # whether this is a source that has come back
        waits = pauses()
        while True:
            try:
                for frame in self._source:
                    if self.lost_since is not None:
                        self._back()
                        waits = pauses()
                    yield clock.shifted(frame) if again else clock.noted(frame)
                return
            except SourceLostError as error:
                if self._stopped.is_set():
                    return
                if self._reopen is None:
                    raise
                if self.lost_since is None:
                    _log.warning(f"{error}; trying again until it is back")
                    self.lost_since = time.monotonic()
                    self._statistics.signal = False
            again = True
            clock.restart()
            self._close()
            if not self._opened_again(self._reopen, waits):
                return

    def _opened_again(
        self, reopen: Callable[[], Source], waits: Iterator[float]
    ) -> bool:
        for pause_s in waits:
            if self._stopped.wait(pause_s):
                return False
            try:
                source = reopen()
            except MediaError:  # said already: it is gone
                continue
            with self._closing:
                self._source, self._closed = source, False
            # `stop` closes the source that it sees, which may be the one before.
            return not self._stopped.is_set()
        raise AssertionError("pauses never end")

    def _back(self) -> None:
        assert self.lost_since is not None  # the caller has asked
        seconds = time.monotonic() - self.lost_since
        self.lost_since = None
        self._statistics.signal = True
        self._statistics.count("reconnects")
        _log.warning(f"the source is back after {seconds:.0f} s")


def pauses(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """How long to wait before each attempt, in seconds: 0.5, doubling up to 10.

    Up to half of each is left away by chance, so that many devices do not come back to
    one server at the same moment.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * (1 - jitter() / 2)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


class _Clock:
    """Keeps indices and times growing over sources that start from zero again."""

    def __init__(self, source: Source) -> None:
        self._unit = source.info.time_base
        self._index = -1
        self._time = Fraction(-1)
        self._captured = time.monotonic()
        self._offset: Fraction | None = None

    def noted(self, frame: Frame) -> Frame:
        """Take note of a frame of the first source."""
        self._index, self._time = frame.index, frame.time
        self._captured = frame.captured or time.monotonic()
        return frame

    def restart(self) -> None:
        """Another source follows."""
        self._offset = None

    def shifted(self, frame: Frame) -> Frame:
        """`frame` of a later source, as long after the first ones as it was taken."""
        captured = frame.captured or time.monotonic()
        if self._offset is None:
            gap = Fraction(captured - self._captured)
            self._offset = self._time + gap - frame.time
        ticks = round((frame.time + self._offset) / self._unit)
        moment = max(ticks * self._unit, self._time + self._unit)
        return self.noted(replace(frame, index=self._index + 1, time=moment))
