"""Several cameras on one page: a wall of small pictures, and a page for each camera.

    GET /                     the wall
    GET /wall                 small pictures of all cameras, in one endless response
    GET /cameras              what each says of itself, as JSON
    GET /camera/NAME/...      what `PreviewApp` serves of one camera

One response for all small pictures, as browsers open six connections to one address
and no more; each picture says in a header whose it is.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib import resources

import cv2
import numpy as np

from derain.runtime.preview.access import Access
from derain.runtime.preview.app import (
    BOUNDARY,
    STALLED_S,
    HttpAnswer,
    PreviewApp,
    Receive,
    Scope,
    Send,
    content_policy,
    cookies_of,
    page_statistics,
)
from derain.runtime.preview.hub import MAX_VIEWERS, Hub
from derain.runtime.preview.sink import JpegSink, jpeg
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame

TILE_WIDTH = 480  # pixels of a small picture
TILE_PERIOD_S = 0.2  # between those of one camera: a wall is to see who is there


class WallViewer:
    """Somebody who watches the wall; used in the event loop alone."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._newest: dict[str, bytes] = {}
        self._over = False

    async def pictures(self) -> AsyncIterator[tuple[str, bytes]]:
        """The newest picture of each camera whenever the caller is ready for one."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._newest:
                name = next(iter(self._newest))
                yield name, self._newest.pop(name)
            if self._over:
                return

    def show(self, name: str, picture: bytes) -> None:
        """Take the newest picture of a camera, in place of one not yet sent."""
        self._newest[name] = picture
        self._news.set()

    def leave(self) -> None:
        """End `pictures`."""
        self._over = True
        self._news.set()


class Channel:
    """What one camera shows: a `Sink`, and a hub for those who watch it alone."""

    name = JpegSink.name
    keeps = JpegSink.keeps
    notes = JpegSink.notes

    def __init__(self, camera: str, statistics: Statistics, wall: WallHub) -> None:
        self.camera = camera
        self.statistics = statistics
        self.hub = Hub()
        self._sink = JpegSink(self.hub)
        self._wall = wall
        self._next = 0.0

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        self._sink.write(frame)
        now = time.monotonic()
        if not self._wall.watched or now < self._next:
            return
        self._next = now + TILE_PERIOD_S
        height, width = frame.image.shape[:2]
        image = frame.image
        if width > TILE_WIDTH:
            size = TILE_WIDTH, max(1, round(height * TILE_WIDTH / width))
            scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            image = np.asarray(scaled, np.uint8)
        self._wall.publish(self.camera, jpeg(image))

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """Let those leave who watch this camera alone; it stays on the wall."""
        self._wall.end_of(self)


class WallHub:
    """The cameras of a wall, and who watches it; the event loop runs in another thread.

    Attributes:
        watched: Whether somebody watches the wall; may be read from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[str, Channel] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._viewers: set[WallViewer] = set()
        self._ended = False
        self.watched = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that the viewers are in."""
        self._loop = loop

    def sink(self, name: str, statistics: Statistics) -> Channel:
        """One more camera, until `remove`; after `attach`, from any thread."""
        channel = Channel(name, statistics, self)
        assert self._loop is not None  # attached before the first camera
        channel.hub.attach(self._loop)
        with self._lock:
            self._channels[name] = channel
        return channel

    def remove(self, name: str) -> None:
        """Take a camera off the wall; from any thread."""
        with self._lock:
            channel = self._channels.pop(name, None)
        if channel is not None:
            self.end_of(channel)

    def end_of(self, channel: Channel) -> None:
        """Let those leave who watch `channel` alone; from any thread."""
        self._call(channel.hub.end)

    def channels(self) -> list[Channel]:
        """The cameras as they are now, in the order of their names' first coming."""
        with self._lock:
            return list(self._channels.values())

    def publish(self, camera: str, picture: bytes) -> None:
        """Show a small picture to all who watch the wall; from any thread."""
        self._call(self._show, camera, picture)

    @property
    def viewers(self) -> int:
        """How many there are, of the wall and of each camera."""
        return len(self._viewers) + sum(each.hub.viewers for each in self.channels())

    @contextmanager
    def watching(self) -> Iterator[WallViewer | None]:
        """A new viewer of the wall, in the event loop; None if there are enough."""
        if len(self._viewers) >= MAX_VIEWERS:
            yield None
            return
        viewer = WallViewer()
        self._viewers.add(viewer)
        self.watched = True
        if self._ended:
            viewer.leave()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self.watched = bool(self._viewers)

    def end(self) -> None:
        """Let every viewer leave, in the event loop; later ones leave at once."""
        self._ended = True
        for viewer in self._viewers:
            viewer.leave()
        for channel in self.channels():
            channel.hub.end()

    def _show(self, camera: str, picture: bytes) -> None:
        for viewer in self._viewers:
            viewer.show(camera, picture)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # attached before the first camera
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


class WallApp:
    """Answers requests for the wall and for each of its cameras; see `PreviewApp`.

    Args:
        hub: The cameras.
        access: Who may see anything.
        abort: Closes the connection of a request at once, whatever is not yet sent.
        stalled_s: After how long without progress a viewer is closed, in seconds.
    """

    def __init__(
        self,
        hub: WallHub,
        access: Access,
        abort: Callable[[Scope], None],
        stalled_s: float = STALLED_S,
    ) -> None:
        self._hub = hub
        self._access = access
        self._abort = abort
        self._stalled_s = stalled_s
        page = resources.files("derain.runtime.preview") / "page/wall.html"
        self._page = page.read_bytes()
        self._policy = content_policy(self._page.decode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        if path.startswith("/camera/"):
            name, slash, rest = path.removeprefix("/camera/").partition("/")
            await self._camera(name, slash + rest, scope, receive, send)
            return
        answer = HttpAnswer(scope, send)
        query = scope["query_string"].decode("latin-1")
        if not self._access.allows(query, cookies_of(scope)):
            text = "a token is needed: open this address with ?token=... at its end\n"
            await answer.text(401, text, {"WWW-Authenticate": "Token"})
        elif path not in ("/", "/wall", "/cameras"):
            await answer.text(404, "nothing here; the page is at /\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await answer.text(405, "GET and HEAD only\n", {"Allow": "GET, HEAD"})
        elif path == "/":
            headers = {"Content-Security-Policy": self._policy}
            cookie = self._access.cookie_for(query)
            if cookie is not None:
                headers["Set-Cookie"] = cookie
            await answer.whole(200, "text/html; charset=utf-8", self._page, headers)
        elif path == "/cameras":
            rows = [
                {
                    "camera": each.camera,
                    **page_statistics(each.statistics, each.hub.viewers),
                }
                for each in self._hub.channels()
            ]
            await answer.whole(200, "application/json", json.dumps(rows).encode())
        else:
            await self._wall(answer, scope, receive, send)

    async def _camera(
        self, name: str, rest: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        channel = next((c for c in self._hub.channels() if c.camera == name), None)
        if channel is None or not rest:
            access = self._access.allows("", cookies_of(scope))
            status, text = (404, "no such camera\n") if access else (401, "a token\n")
            await HttpAnswer(scope, send).text(status, text)
            return
        app = PreviewApp(
            channel.hub,
            channel.statistics,
            self._access,
            self._abort,
            self._stalled_s,
        )
        await app({**scope, "path": rest}, receive, send)

    async def _wall(
        self, answer: HttpAnswer, scope: Scope, receive: Receive, send: Send
    ) -> None:
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        if scope["method"] == "HEAD":
            await answer.whole(200, kind, b"", sized=False)
            return
        with self._hub.watching() as viewer:
            if viewer is None:
                text = f"{MAX_VIEWERS} viewers already; close one of them\n"
                await answer.text(503, text, {"Retry-After": "5"})
                return
            await answer.start(200, kind)
            gone = asyncio.ensure_future(_leave_when_gone(viewer, receive))
            try:
                await self._send_pictures(viewer, send)
            except asyncio.TimeoutError:
                self._abort(scope)
                await gone  # or the server takes our return for a mistake
            finally:
                gone.cancel()

    async def _send_pictures(self, viewer: WallViewer, send: Send) -> None:
        async def put(body: bytes, *, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": body, "more_body": more}
            await asyncio.wait_for(send(message), self._stalled_s)

        await put(f"--{BOUNDARY}\r\n".encode())
        async for name, picture in viewer.pictures():
            head = (
                f"Content-Type: image/jpeg\r\nX-Camera: {name}\r\n"
                f"Content-Length: {len(picture)}\r\n\r\n"
            )
            await put(head.encode() + picture + f"\r\n--{BOUNDARY}\r\n".encode())
            await put(b"")  # waits for the bytes before; see `PreviewApp`
        await put(b"", more=False)


async def _leave_when_gone(viewer: WallViewer, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.leave()
