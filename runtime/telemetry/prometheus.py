"""Statistics for Prometheus: its text format, served by the standard library.

The format is lines of text; a package for it would be one more on every device.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from derain.core.errors import ConfigError
from derain.runtime.telemetry.statistics import COUNTERS, Statistics
from derain.runtime.telemetry.timing import Timing

MAX_CONNECTIONS = 8  # one Prometheus asks once in some seconds
_BACK_OFF_S = 0.1


def prometheus_text(statistics: Statistics) -> str:
    """All of it in Prometheus' text format 0.0.4; times are in seconds.

    Quantiles are of the last 1024 frames, sums and counts of all.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    values = statistics.as_dict()
    lines: list[str] = []
    for counter in COUNTERS:
        name = f"derain_{counter}_total"
        lines += [f"# TYPE {name} counter", f"{name} {values[counter]}"]
    if values["resets"] is not None:
        lines.append("# TYPE derain_resets_total counter")
        lines += [
            f'derain_resets_total{{cause="{cause}"}} {number}'
            for cause, number in values["resets"].items()
        ]
    gauges = {
        "frames_per_second": values["fps"],
        "signal": int(values["signal"]),
        "gate_dry": None if values["gate"] is None else int(values["gate"] == "dry"),
        "removed_rain_levels": values["rain"],
        "resident_memory_bytes": values["memory_bytes"],
    }
    for key, value in gauges.items():
        if value is not None:
            lines += [f"# TYPE derain_{key} gauge", f"derain_{key} {value}"]
    for key, label in (("temperature_c", "zone"), ("power_w", "rail")):
        name = {"temperature_c": "temperature_celsius", "power_w": "power_watts"}[key]
        lines += [f"# TYPE derain_{name} gauge"] if values[key] else []
        lines += [
            f'derain_{name}{{{label}="{_quoted(where)}"}} {value}'
            for where, value in values[key].items()
        ]
    for key, name, kind in (
        ("written", "derain_sink_written_total", "counter"),
        ("dropped", "derain_sink_dropped_total", "counter"),
        ("failed", "derain_sink_failed", "gauge"),
    ):
        lines.append(f"# TYPE {name} {kind}")
        lines += [
            f'{name}{{sink="{_quoted(sink["sink"])}"}} {int(sink[key])}'
            for sink in values["sinks"]
        ]
    lines.append("# TYPE derain_stage_seconds summary")
    for stage in ("read", "wait", "derain"):
        lines += _summary("stage", f'stage="{stage}"', getattr(statistics, stage))
    for stage in ("wait", "write"):
        for sink in statistics.sinks:
            labels = f'stage="sink_{stage}",sink="{_quoted(sink.name)}"'
            lines += _summary("stage", labels, getattr(sink, stage))
    lines.append("# TYPE derain_frame_age_seconds summary")
    for sink in statistics.sinks:
        lines += _summary("frame_age", f'sink="{_quoted(sink.name)}"', sink.age)
    return "\n".join(lines) + "\n"


def _summary(name: str, labels: str, timing: Timing) -> Iterator[str]:
    for key, ms in (timing.percentiles() or {}).items():
        quantile = int(key[1:]) / 100
        yield f'derain_{name}_seconds{{{labels},quantile="{quantile}"}} {ms / 1000:.6f}'
    yield f"derain_{name}_seconds_sum{{{labels}}} {timing.sum_ms / 1000:.6f}"
    yield f"derain_{name}_seconds_count{{{labels}}} {timing.count}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


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
        statistics: What is served.
        host: Address to listen at; ``0.0.0.0`` for all.
        port: Port; 0 takes a free one, see `port`.

    Raises:
        ConfigError: Nothing can listen there.
    """

    def __init__(self, statistics: Statistics, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds that a client may take to ask

            def do_GET(self) -> None:
                if self.path != "/metrics":
                    self.send_error(404)
                    return
                body = prometheus_text(statistics).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
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
