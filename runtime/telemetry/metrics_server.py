"""``/metrics`` for Prometheus and ``/healthz`` for whoever starts the process again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from derain.core.errors import ConfigError
from derain.runtime.telemetry.prometheus import prometheus_text
from derain.runtime.telemetry.roster import Watched

STALLED_S = 60.0  # a frame of the slowest network takes half of it on two cores
MAX_CONNECTIONS = 8  # one Prometheus asks once in some seconds
_BACK_OFF_S = 0.1


def health(watched: Watched, silent_s: float) -> tuple[bool, str]:
    """Whether a run whose loop was seen alive so long ago is well, and a line for each.

    A source that is lost does not make it unwell: starting again would not help.
    """
    if silent_s > STALLED_S:
        return False, f"the frame loop has stood still for {silent_s:.0f} s\n"
    lines = ["ok"]
    for name, statistics in watched.cameras():
        if name:
            lines.append(f"{name}: {statistics.state}")
        if not statistics.signal and statistics.state == "running":
            lines[-1] += ", no signal"
    return True, "\n".join(lines) + "\n"


class _BoundedServer(ThreadingHTTPServer):
    """So many connections at once; one more is closed, and nothing is said of it."""

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, handler)

    def get_request(self) -> Any:
        """See `socketserver.TCPServer`; without a free descriptor, wait for one."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_BACK_OFF_S)  # or the loop would turn as fast as it can
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """See `socketserver.BaseServer`."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See `socketserver.ThreadingMixIn`."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is no fault of the run."""


class MetricsServer:
    """``http://HOST:PORT/metrics`` while a ``with MetricsServer(...):`` lasts.

    Args:
        watched: What is served.
        host: Address to listen at; ``0.0.0.0`` for all.
        port: Port; 0 takes a free one, see `port`.
        beat: When the frame loop was seen alive last, by ``time.monotonic()``.

    Raises:
        ConfigError: Nothing can listen there.
    """

    def __init__(
        self,
        watched: Watched,
        host: str,
        port: int,
        beat: Callable[[], float] = time.monotonic,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds that a client may take to ask

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, prometheus_text(watched), "; version=0.0.4")
                elif self.path == "/healthz":
                    well, text = health(watched, time.monotonic() - beat())
                    self._answer(200 if well else 503, text)
                else:
                    self.send_error(404)

            def _answer(self, status: int, text: str, version: str = "") -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", f"text/plain{version}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Say nothing: standard error is for statistics."""

        try:
            self._server = _BoundedServer((host, port), Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"metrics cannot be served at {host}:{port}: {reason}"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
