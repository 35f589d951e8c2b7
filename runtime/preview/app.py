"""What the preview serves, as an ASGI application: a page, its pictures, its figures.

    GET /         the page
    GET /stream   pictures without end (MJPEG); ?view=side-by-side, derained or rain
    GET /stats    the statistics as JSON

Nothing else is there: no other path, no other method, no file of the device.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html (ASGI 3, HTTP 2.3).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from derain.runtime.pipeline.options import View
from derain.runtime.preview.access import Access
from derain.runtime.preview.hub import MAX_VIEWERS, Hub, Viewer
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.telemetry.timing import Timing

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = dict[str, str]

VIEWS: tuple[View, ...] = ("side-by-side", "derained", "rain")
BOUNDARY = "picture"
STALLED_S = 10.0  # a viewer who takes nothing for that long loses its place

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_TEXT = "text/plain; charset=utf-8"


class PreviewApp:
    """Answers requests; runs in one event loop, which is also the hub's.

    Args:
        hub: Where pictures come from.
        statistics: What ``/stats`` tells.
        access: Who may see anything.
        abort: Closes the connection of a request at once, whatever is not yet sent.
        stalled_s: After how long without progress a viewer is closed, in seconds.
    """

    def __init__(
        self,
        hub: Hub,
        statistics: Statistics,
        access: Access,
        abort: Callable[[Scope], None],
        stalled_s: float = STALLED_S,
    ) -> None:
        self._hub = hub
        self._statistics = statistics
        self._access = access
        self._abort = abort
        self._stalled_s = stalled_s
        page = resources.files("derain.runtime.preview") / "page/index.html"
        self._page = page.read_bytes()
        self._policy = content_policy(self._page.decode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"  # the server knows nothing else
        answer = HttpAnswer(scope, send)
        query = scope["query_string"].decode("latin-1")
        if not self._access.allows(query, cookies_of(scope)):
            text = "a token is needed: open this address with ?token=... at its end\n"
            await answer.text(401, text, {"WWW-Authenticate": "Token"})
        elif scope["path"] not in ("/", "/stream", "/stats"):
            await answer.text(404, "nothing here; the page is at /\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await answer.text(405, "GET and HEAD only\n", {"Allow": "GET, HEAD"})
        elif scope["path"] == "/":
            headers = {"Content-Security-Policy": self._policy}
            cookie = self._access.cookie_for(query)
            if cookie is not None:
                headers["Set-Cookie"] = cookie
            await answer.whole(200, "text/html; charset=utf-8", self._page, headers)
        elif scope["path"] == "/stats":
            body = json.dumps(page_statistics(self._statistics, self._hub.viewers))
            await answer.whole(200, "application/json", body.encode())
        else:
            await self._stream(answer, query, scope, receive, send)

    async def _stream(
        self, answer: HttpAnswer, query: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        (name,) = parse_qs(query).get("view", [VIEWS[0]])[-1:]
        view = next((each for each in VIEWS if each == name), None)
        if view is None:
            await answer.text(404, f"no such view; wanted {', '.join(VIEWS)}\n")
            return
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        if scope["method"] == "HEAD":
            await answer.whole(200, kind, b"", sized=False)
            return
        with self._hub.watching(view) as viewer:
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

    async def _send_pictures(self, viewer: Viewer, send: Send) -> None:
        async def put(body: bytes, *, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": body, "more_body": more}
            await asyncio.wait_for(send(message), self._stalled_s)

        await put(f"--{BOUNDARY}\r\n".encode())
        async for picture in viewer.pictures():
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            # The boundary at once: browsers show a picture when they have seen it.
            await put(head.encode() + picture + f"\r\n--{BOUNDARY}\r\n".encode())
            # Sending waits for the bytes before, not for its own. Waiting here, and
            # only then asking for a picture, is what makes it the newest.
            await put(b"")
        await put(b"", more=False)


async def _leave_when_gone(viewer: Viewer, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.leave()


class HttpAnswer:
    """Sends one response, without its body where the request was HEAD.

    Args:
        scope: Of the request.
        send: As ASGI gives it.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._head = scope["method"] == "HEAD"

    async def start(
        self, status: int, kind: str, headers: Headers | None = None
    ) -> None:
        """Send what stands before the body, which is of this `kind`."""
        fields = {**_HEADERS, "Content-Type": kind, **(headers or {})}
        encoded = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in fields.items()
        ]
        start = {"type": "http.response.start", "status": status, "headers": encoded}
        await self._send(start)

    async def whole(
        self,
        status: int,
        kind: str,
        body: bytes,
        headers: Headers | None = None,
        *,
        sized: bool = True,
    ) -> None:
        """Send all of it."""
        length = {"Content-Length": str(len(body))} if sized else {}
        await self.start(status, kind, {**length, **(headers or {})})
        body = b"" if self._head else body
        await self._send({"type": "http.response.body", "body": body})

    async def text(
        self, status: int, text: str, headers: Headers | None = None
    ) -> None:
        """Send a line for people."""
        await self.whole(status, _TEXT, text.encode(), headers)


def content_policy(page: str) -> str:
    """The Content-Security-Policy under which `page` does what it does, and no more.

    Its script and style are allowed by their hashes; everything else must come from
    here.
    """

    def sources(tag: str) -> str:
        blocks = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (hashlib.sha256(block.encode()).digest() for block in blocks)
        return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)

    return (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        f"script-src {sources('script')}; style-src {sources('style')}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def page_statistics(statistics: Statistics, viewers: int) -> dict[str, Any]:
    """`Statistics.as_dict` without the names of sinks, which tell paths; and more.

    ``total_ms`` has the number and the sum of network times and frame ages so far, of
    which the page makes the means of the last second.
    """
    values = statistics.as_dict()
    del values["sinks"]
    age = statistics.sinks[0].age if statistics.sinks else Timing()
    totals = {"derain": statistics.derain, "age": age}
    return {
        **values,
        "viewers": viewers,
        "total_ms": {
            name: {"count": timing.count, "sum": round(timing.sum_ms, 3)}
            for name, timing in totals.items()
        },
    }


def cookies_of(scope: Scope) -> str:
    """The ``Cookie:`` texts of a request."""
    return "; ".join(
        value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"
    )
