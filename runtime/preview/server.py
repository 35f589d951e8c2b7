"""The preview as a sink: uvicorn in a thread of its own, with its own event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import Any, Protocol

import uvicorn

from derain.core.errors import ConfigError
from derain.runtime.preview.access import Access
from derain.runtime.preview.app import STALLED_S, PreviewApp, Scope
from derain.runtime.preview.connections import (
    App,
    BoundedProtocol,
    hangs_up,
    is_idle,
    quiet_about_sockets,
)
from derain.runtime.preview.hub import Hub
from derain.runtime.preview.sink import JpegSink
from derain.runtime.preview.wall import Channel, WallApp, WallHub
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame

IDLE_S = 10.0  # for a connection that asks nothing
_SEND_BUFFER = 64 * 1024  # bytes; Linux doubles it
_BACKLOG = 16  # asyncio accepts so many before it closes what is too many
_LEAVE_S = 0.3  # for viewers to get the end of their stream

_App = PreviewApp | WallApp


class PreviewServer:
    """A `Sink` that serves the page from its construction to its `close`.

    Args:
        statistics: What the page shows beside the pictures.
        host: Address to listen at; ``0.0.0.0`` for all.
        port: Port; 0 takes a free one, see `port`.
        token: What viewers must know; None: nothing.
        stalled_s: After how long without progress a viewer is closed, in seconds.

    Raises:
        ConfigError: Nothing can listen there, or the token is too short.
    """

    name = JpegSink.name
    keeps = JpegSink.keeps
    notes = JpegSink.notes

    def __init__(
        self,
        statistics: Statistics,
        host: str,
        port: int,
        token: str | None = None,
        stalled_s: float = STALLED_S,
    ) -> None:
        hub = Hub()
        self._sink = JpegSink(hub)
        access = Access(token)
        app = PreviewApp(hub, statistics, access, self._abort, stalled_s)
        self._start(hub, app, host, port)

    def _start(self, hub: _Viewed, app: _App, host: str, port: int) -> None:
        """Serve `app` from now on, to the viewers of `hub`."""
        self._hub = hub
        self._server = uvicorn.Server(_config(hangs_up(app, self._abort)))
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._stop: asyncio.Event | None = None
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="preview", daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        self._sink.write(frame)

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """Let the viewers leave, and stop; harmless when repeated."""
        if self._thread.is_alive():
            assert self._stop is not None  # made before the constructor returned
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            self._socket.close()

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(quiet_about_sockets)
        self._hub.attach(loop)
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        started.set_result(loop)
        idle = _Idle()
        while not (serving.done() or await _within(stop, 1.0)):
            for connection in idle.seen(self._server, loop.time()):
                connection.transport.abort()
        self._hub.end()
        await _left(self._hub, _LEAVE_S)
        self._server.should_exit = True
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # who has not left takes nothing any more
        await serving

    def _abort(self, scope: Scope) -> None:
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == scope["client"]:
                connection.transport.abort()


class WallServer(PreviewServer):
    """The page of several cameras, from its construction to its `close`.

    Args:
        host: As `PreviewServer`.
        port: As `PreviewServer`.
        token: As `PreviewServer`.
    """

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self._wall = WallHub()
        app = WallApp(self._wall, Access(token), self._abort)
        self._start(self._wall, app, host, port)

    def sink(self, name: str, statistics: Statistics) -> Channel:
        """Show one more camera, until `remove`: one that has failed, too."""
        return self._wall.sink(name, statistics)

    def remove(self, name: str) -> None:
        """Take a camera off the page."""
        self._wall.remove(name)


class _Viewed(Protocol):
    """What viewers watch: `Hub` or `WallHub`."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None: ...

    def end(self) -> None: ...

    @property
    def viewers(self) -> int: ...


class _Idle:
    """Finds connections that have asked nothing for `IDLE_S`; uvicorn leaves them."""

    def __init__(self) -> None:
        self._since: dict[Any, tuple[Any, float]] = {}

    def seen(self, server: uvicorn.Server, now: float) -> list[Any]:
        """Those of `server` at `now` seconds; to be asked now and then."""
        since = {}
        for connection in server.server_state.connections:
            if is_idle(connection):
                cycle = getattr(connection, "cycle", None)
                before, moment = self._since.get(connection, (cycle, now))
                since[connection] = (cycle, moment if before is cycle else now)
        self._since = since
        return [each for each, (_, moment) in since.items() if now - moment >= IDLE_S]


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=BoundedProtocol,  # on h11, which is always there
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=1,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        (family, *_, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"the preview cannot be served at {host}:{port}: {reason}; choose another "
            "address or port"
        ) from error
    # Connections take it over. What lies in the system's buffer gets old: without a
    # bound Linux keeps up to 4 MB for a viewer who is slow.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return listener


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


async def _left(hub: _Viewed, seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while hub.viewers and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.01)
