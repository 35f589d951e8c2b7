"""The capture: a thread that reads a source, and opens a lost one again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

from derain.core.bounded_queue import BoundedQueue
from derain.core.errors import MediaError, SourceLostError
from derain.runtime.pipeline.continued_clock import ContinuedClock
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame, Source

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
_QUEUED = 3  # frames of a file that are read ahead
_PATIENCE_S = 10.0  # for a file's thread to end
_PATIENCE_LIVE_S = 1.0  # for one that may wait for a frame that never comes
_TICK_S = 0.1


class Capture:
    """Reads a source in a thread of its own, from now on, and closes it there.

    The thread keeps a camera's or a server's buffers empty, also while a network is
    loaded or nobody looks: of a live source, the newest frame is kept; of a file, a few
    are read ahead. Whoever waits for a frame is let go at once by `close`, even while
    the thread hangs in a library.

    A live source is lost when it says so, or sends nothing for ``info.timeout_s``. A
    thread that hangs then is left behind with its source, which it closes when it
    returns, and another one opens the source again.

    ``with Capture(open_source(uri)) as frames:``; iterating gives the frames.

    Args:
        source: What is read; closed by this.
        statistics: Told what was captured, dropped and lost: every frame that came out
            of the source is taken by the reader or counted as dropped.
        limit: Of a file, read no more frames than this.
        reopen: Opens a live source anew when it is lost; None: a loss is an error.
        name: What messages call it, where there are several.

    Attributes:
        info: What the source said of itself.
        lost_since: Since when the source is lost, by ``time.monotonic()``; None while
            it delivers.
        changed: Called, in the thread that reads, when a frame is there or none will
            come any more.
    """

    def __init__(
        self,
        source: Source,
        statistics: Statistics | None = None,
        *,
        limit: int | None = None,
        reopen: Callable[[], Source] | None = None,
        name: str = "",
    ) -> None:
        self.info = info = source.info
        self.lost_since: float | None = None
        self.changed: Callable[[], None] = lambda: None
        self._called = name
        self._statistics = statistics = statistics or Statistics()
        self._limit = None if info.live else limit
        self._reopen = reopen if info.live else None
        self._queue: BoundedQueue[tuple[Frame, float]] = BoundedQueue(
            1 if info.live else _QUEUED,
            waits=not info.live,
            dropped=lambda item: statistics.count("dropped"),
        )
        self._closed = threading.Event()
        # Held while a frame is handed over, and while a silent source is given up. Only
        # `put` of a file waits, which is never given up.
        self._turn = threading.Lock()
        self._clock = ContinuedClock(info.time_base)
        self._waits = pauses()
        self._source: Source = source
        self._heard: float | None = time.monotonic()  # None while it is opened again
        self._thread: threading.Thread | None = None
        self._start(source)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are taken, in order.

        Raises:
            SourceLostError: A live source is lost, and there is no `reopen`.
            MediaError: A frame cannot be read; the ones before it were good.
        """
        while True:
            item = self.get(_TICK_S)
            if item is not None:
                yield item[0]
            elif self.over:
                return

    def get(self, timeout_s: float) -> tuple[Frame, float] | None:
        """The next frame, and when it was handed over, by ``time.monotonic()``.

        None if none came in time, or none will: see `over`.

        Raises:
            SourceLostError: A live source is lost, and there is no `reopen`.
            BaseException: What reading failed with, once all frames are taken.
        """
        item = self._queue.get(timeout_s)
        if item is None and self._is_silent():
            self._give_up()
        return item

    @property
    def waiting_since(self) -> float | None:
        """Since when a frame waits, by ``time.monotonic()``; None while none does."""
        return self._queue.waiting_since

    @property
    def over(self) -> bool:
        """Whether no frame will come any more."""
        return self._queue.over

    def close(self) -> None:
        """Read no more, and wait for the source to be closed; harmless when repeated.

        Whoever waits for a frame is let go at once. A thread that hangs all the same is
        left alone after a while: it does not keep the process alive.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self._queue.cancel()
        self._source.interrupt()
        live, thread = self.info.live, self._thread
        if thread is None:
            return
        thread.join(_PATIENCE_LIVE_S if live else _PATIENCE_S)
        if thread.is_alive():
            level = logging.DEBUG if live else logging.WARNING
            _log.log(level, f"{self.info.description} does not stop; left behind")

    def _start(self, source: Source | None) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(source,), name="source", daemon=True
        )
        self._thread.start()

    def _run(self, source: Source | None) -> None:
        """Read `source` and those that take its place; None: it is lost already."""
        error: BaseException | None = None
        try:
            while True:
                source = source or self._opened_again()
                if source is None:
                    break
                try:
                    self._read(source)
                    break
                except SourceLostError as lost:
                    with self._turn:
                        if self._is_mine():
                            self._lose(lost)
                            source = None
                    if source is not None:
                        return
        # Of any type: it is carried to the thread that takes the frames.
        except BaseException as caught:
            error = caught
        if self._is_mine():
            self._queue.end(error)
            self.changed()

    def _read(self, source: Source) -> None:
        """Hand over the frames of `source`, and close it.

        Raises:
            SourceLostError: It is lost, or has ended and is endless.
        """
        opened = time.monotonic()
        with closing(source):
            frames = islice(source, self._limit)
            while True:
                started = time.perf_counter()
                frame = next(frames, None)
                with self._turn:
                    if frame is None or not self._is_mine():
                        break
                    seconds = time.perf_counter() - started
                    if not self._hand_over(frame, seconds):
                        return
        if source.info.endless and self._is_mine():
            seconds = time.monotonic() - opened
            raise SourceLostError(
                f"{self._name} is lost: it ended after {seconds:.0f} s"
            )

    def _hand_over(self, frame: Frame, seconds: float) -> bool:
        """Put `frame`, which was waited for so long; False: nobody takes it."""
        self._heard = time.monotonic()
        if self.lost_since is not None:
            self._back(self.lost_since)
        self._statistics.read.add(seconds * 1000)
        self._statistics.count("captured")
        taken = self._queue.put((self._clock.told(frame), time.monotonic()))
        self.changed()
        return taken

    def _is_mine(self) -> bool:
        """Whether the calling thread is the one that reads."""
        return self._thread is threading.current_thread() and not self._closed.is_set()

    def _is_silent(self) -> bool:
        timeout_s, heard = self._source.info.timeout_s, self._heard
        if timeout_s is None or heard is None or self._closed.is_set():
            return False
        return not self.over and time.monotonic() - heard > timeout_s

    def _give_up(self) -> None:
        """Leave the thread that waits for a frame, and its source, behind."""
        with self._turn:
            if not self._is_silent():  # a frame has come just now
                return
            silent = self._source
            lost = SourceLostError(
                f"{self._name} is lost: no frame for {silent.info.timeout_s:g} s"
            )
            self._thread = None
        silent.interrupt()
        try:
            self._lose(lost)
        except SourceLostError:
            self._queue.end()
            raise
        self._start(None)

    def _lose(self, error: SourceLostError) -> None:
        """Take note of `error`; raise it where there is no way back."""
        if self._reopen is None:
            raise error
        self._heard = None
        self._clock.restart()
        if self.lost_since is None:
            _log.warning(f"{error}; trying again until it is back")
            self.lost_since = time.monotonic()
            self._statistics.signal = False

    def _opened_again(self) -> Source | None:
        assert self._reopen is not None  # or a loss is an error
        for pause_s in self._waits:
            if self._closed.wait(pause_s):
                return None
            try:
                source = self._reopen()
            except MediaError:  # said already: it is gone
                continue
            self._source = source
            self._heard = time.monotonic()
            if self._closed.is_set():  # `close` may have seen the source before
                source.close()
                return None
            return source
        raise AssertionError("pauses never end")

    def _back(self, lost_since: float) -> None:
        self.lost_since = None
        self._waits = pauses()
        self._statistics.signal = True
        self._statistics.count("reconnects")
        back = f"{self._called}: " if self._called else ""
        seconds = time.monotonic() - lost_since
        _log.warning(f"{back}the source is back after {seconds:.0f} s")

    @property
    def _name(self) -> str:
        name = self.info.name or self.info.description
        return f"{self._called}: {name}" if self._called else name


def pauses(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """How long to wait before each attempt, in seconds: 0.5, doubling up to 10.

    Up to half of each is left away by chance, so that many devices do not come back to
    one server at the same moment.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * (1 - jitter() / 2)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
