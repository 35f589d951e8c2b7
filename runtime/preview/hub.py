"""The newest picture of each view, from the sink's thread to everybody who watches.

There is no queue: a viewer who is slow finds the newest picture when it is ready for
one, and the ones between are never sent. So memory is bounded by the number of viewers,
and one coded picture serves all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from derain.runtime.pipeline.options import View

MAX_VIEWERS = 8


class Viewer:
    """Somebody who watches `view`; used in the event loop alone."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._news = asyncio.Event()
        self._newest: bytes | None = None
        self._over = False

    async def pictures(self) -> AsyncIterator[bytes]:
        """The newest picture whenever the caller is ready, each at most once.

        The last one comes before the end.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            picture, self._newest = self._newest, None
            if picture is not None:
                yield picture
            if self._over:
                return

    def show(self, picture: bytes) -> None:
        """Take the newest picture, in place of one not yet sent."""
        self._newest = picture
        self._news.set()

    def leave(self) -> None:
        """End `pictures`."""
        self._over = True
        self._news.set()


class Hub:
    """Hands pictures to viewers in an event loop that runs in another thread.

    Attributes:
        watched: The views that somebody watches; may be read from any thread.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._viewers: set[Viewer] = set()
        self._ended = False
        self.watched: frozenset[View] = frozenset()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that the viewers are in."""
        self._loop = loop

    def publish(self, view: View, picture: bytes) -> None:
        """Show `picture` to all who watch `view`; from any thread."""
        self._call(self._show, view, picture)

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    @contextmanager
    def watching(self, view: View) -> Iterator[Viewer | None]:
        """A new viewer of `view`, in the event loop; None if there are enough."""
        if len(self._viewers) >= MAX_VIEWERS:
            yield None
            return
        viewer = Viewer(view)
        self._viewers.add(viewer)
        self._changed()
        if self._ended:
            viewer.leave()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self._changed()

    def end(self) -> None:
        """Let every viewer leave, in the event loop; later ones leave at once."""
        self._ended = True
        for viewer in self._viewers:
            viewer.leave()

    def _show(self, view: View, picture: bytes) -> None:
        for viewer in self._viewers:
            if viewer.view == view:
                viewer.show(picture)

    def _changed(self) -> None:
        self.watched = frozenset(viewer.view for viewer in self._viewers)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # attached before the first frame
        self._loop.call_soon_threadsafe(function, *arguments)
