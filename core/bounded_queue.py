"""Frames from one thread to the next: a queue that waits, or one that drops the oldest.

This is the only difference between a file and a camera. A file waits for its reader. A
camera does not: what is not taken in time is dropped, so that the queue never grows and
what comes out is new.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """Items in order from one writing thread to one reading thread.

    Every item that is put in is taken out or reported to `dropped`, exactly once.

    Args:
        capacity: How many items it holds, at least 1.
        waits: Whether `put` waits for room; otherwise it drops the oldest item.
        dropped: Called with every item that will never be taken, in the thread that
            causes it, outside of any lock of ours.

    Attributes:
        waiting_since: Since when there is something to take, by ``time.monotonic()``;
            None while there is nothing. A newer item in place of one that was not taken
            does not change it.
    """

    def __init__(
        self,
        capacity: int,
        *,
        waits: bool,
        dropped: Callable[[T], None] = lambda item: None,
    ) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._waits = waits
        self._dropped = dropped
        self._changed = threading.Condition()
        self._ended = self._cancelled = False
        self._error: BaseException | None = None
        self.waiting_since: float | None = None

    def put(self, item: T) -> bool:
        """Hand over `item`; False when there is no reader any more."""
        lost: T | None = None
        with self._changed:
            while self._waits and len(self._items) >= self._capacity and self._open:
                self._changed.wait()
            accepted = self._open
            if not accepted:
                lost = item
            else:
                if len(self._items) >= self._capacity:
                    lost = self._items.popleft()
                self._items.append(item)
                self.waiting_since = self.waiting_since or time.monotonic()
                self._changed.notify_all()
        if lost is not None:
            self._dropped(lost)
        return accepted

    def get(self, timeout_s: float | None = None) -> T | None:
        """The oldest item; None if none came in time, or none will: see `over`.

        Raises:
            BaseException: What the writer ended with, once all items are taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or not self._open, timeout_s)
            if self._items:
                item = self._items.popleft()
                self.waiting_since = time.monotonic() if self._items else None
                self._changed.notify_all()
                return item
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    @property
    def over(self) -> bool:
        """Whether no item will come any more."""
        with self._changed:
            return not self._open and not self._items and self._error is None

    def end(self, error: BaseException | None = None) -> None:
        """The writer is done: the reader takes what is left, and then meets `error`."""
        with self._changed:
            if self._open:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def cancel(self) -> None:
        """The reader is done: what is left is dropped, and a waiting `put` returns."""
        with self._changed:
            self._cancelled, self._error = True, None
            left = list(self._items)
            self._items.clear()
            self.waiting_since = None
            self._changed.notify_all()
        for item in left:
            self._dropped(item)

    @property
    def _open(self) -> bool:
        return not (self._ended or self._cancelled)
