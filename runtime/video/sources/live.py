"""A source that is read in a thread of its own, all the time.

The thread keeps a camera's or a server's buffers empty, also while a network is loaded
or nobody looks, so that the newest frame is new; and whoever waits for a frame can be
let go at once, even while the thread hangs in a library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from derain.core.bounded_queue import BoundedQueue
from derain.core.errors import SourceLostError
from derain.runtime.video.frames import Frame, SourceInfo

TIMEOUT_S = 5.0  # without a frame, until a live source counts as lost
_QUEUED = 3  # frames of a source that is not live
_PATIENCE_S = 1.0  # for the thread to end by itself


class LiveSource:
    """The newest of `frames`; of a source that is not live, all of them in order.

    Args:
        info: What the source is like.
        name: What it is called in messages, without credentials.
        frames: Where they come from; used by one thread at a time.
        release: Frees what `frames` needs; called once, in the thread that reads.
        interrupt: Makes a thread that waits inside of `frames` return, if it can.
        endless: Whether an end is a loss, as of a camera.
        timeout_s: How long to wait for a live frame.
    """

    def __init__(
        self,
        info: SourceInfo,
        name: str,
        frames: Iterator[Frame],
        *,
        release: Callable[[], None] = lambda: None,
        interrupt: Callable[[], None] = lambda: None,
        endless: bool = True,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.info = info
        self._name = name
        self._frames = frames
        self._release = release
        self._interrupt = interrupt
        self._endless = endless and info.live
        self._timeout_s = timeout_s if info.live else None
        self._closed = False
        self._opened = time.monotonic()
        self._queue: BoundedQueue[Frame] = BoundedQueue(
            1 if info.live else _QUEUED, waits=not info.live
        )
        self._thread = threading.Thread(
            target=self._read, name=f"reader of {name}", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        while True:
            frame = self._queue.get(self._timeout_s)
            if frame is not None:
                yield frame
            elif self._closed:
                return
            elif not self._queue.over:
                raise SourceLostError(
                    f"{self._name} is lost: no frame for {self._timeout_s:g} s"
                )
            elif self._endless:
                seconds = time.monotonic() - self._opened
                raise SourceLostError(
                    f"{self._name} is lost: it ended after {seconds:.0f} s"
                )
            else:
                return

    def close(self) -> None:
        """See `Source.close`; from any thread.

        Whoever waits for a frame is let go at once. A thread that hangs in the network
        is left to its time limit, and frees everything then.
        """
        self._closed = True
        self._queue.cancel()
        self._interrupt()
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE_S)

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            try:
                for frame in self._frames:
                    if not self._queue.put(frame):
                        break
            finally:
                self._release()
        # Of any type: it is carried to the thread that waits for frames.
        except BaseException as caught:
            error = caught
        self._queue.end(error)
