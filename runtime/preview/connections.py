"""Connections to the page: so many at once, and none that ends anything but itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from derain.runtime.preview.app import Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_CONNECTIONS = 64  # open at once; each viewer has two, the pictures and the figures
_SHARE = (
    8  # of the descriptors that the process may have, the page takes one in so many
)

_log = logging.getLogger(__name__)


def most_connections() -> int:
    """How many there may be at once: the run keeps descriptors for its files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(2, min(MAX_CONNECTIONS, soft // _SHARE))


class BoundedProtocol(H11Protocol):
    """uvicorn's connection, of which there are at most `most_connections`.

    One more takes the place of that which has asked nothing for longest: who only
    connects keeps nobody out, whether he knows a token or not.
    """

    def connection_made(  # type: ignore[override]  # as uvicorn's
        self, transport: asyncio.Transport
    ) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.made = self.loop.time()
        there: list[Any] = [
            each for each in self.connections if not each.transport.is_closing()
        ]
        if len(there) > most_connections():
            idle = [each for each in there if each is not self and is_idle(each)]
            oldest = min(idle, key=lambda each: each.made, default=self)
            oldest.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is none; where it is too late to say so, hang up."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()


def hangs_up(app: App, abort: Callable[[Scope], None]) -> App:
    """`app`, which hangs up where an answer is no longer possible.

    The rest of a request may turn out to be none after `app` was called.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except h11.LocalProtocolError:
            abort(scope)
            while (await receive())["type"] != "http.disconnect":
                pass  # or uvicorn takes our return for a mistake

    return call


def is_idle(connection: Any) -> bool:
    """Whether `connection` waits for a request."""
    cycle = getattr(connection, "cycle", None)  # request and response
    return cycle is None or bool(cycle.response_complete)


def quiet_about_sockets(
    loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """An exception handler: of what a socket does only who looks for a fault hears.

    Where there is no descriptor for one more connection, asyncio waits for a second.
    """
    if isinstance(context.get("exception"), OSError):
        _log.debug("%s: %s", context["message"], context["exception"])
        return
    with contextlib.suppress(OSError):
        loop.default_exception_handler(context)
