"""The live page: before and after in a browser, with the figures of the run.

    sink.py    a sink that codes frames as JPEG, where somebody watches
    hub.py     the newest picture of each view, from the sink's thread to the viewers
    app.py     the page, the pictures and the statistics over HTTP (ASGI)
    access.py  who may see them
    connections.py  how many at once, and what becomes of one too many
    server.py  uvicorn in a thread of its own; the only module that needs the extra
    page/      the page itself: one file, nothing from outside

uvicorn alone, without a framework: three routes need none, and it brings only h11.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol, cast

from derain.core.lazy import load
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Sink


class Preview(Sink, Protocol):
    """A sink that is a page."""

    @property
    def port(self) -> int:
        """Where it is served."""
        ...


def open_preview(
    statistics: Statistics, host: str, port: int, token: str | None = None
) -> Preview:
    """A sink that serves what it is given at ``http://HOST:PORT/``, from now on.

    Args:
        statistics: What the page shows beside the pictures.
        host: Address to listen at; ``0.0.0.0`` for all.
        port: Port; 0 takes a free one.
        token: What viewers must know; None: nothing.

    Raises:
        ConfigError: Nothing can listen there.
        MissingDependencyError: The extra ``preview`` is not installed.
    """
    server = load("derain.runtime.preview.server", "PreviewServer", extra="preview")
    return cast(Preview, server(statistics, host, port, token))


def preview_notes(host: str, port: int, token: str | None = None) -> list[str]:
    """What the user should know about a preview at `host` and `port`, a line each."""
    here = f"[{host}]" if ":" in host else host
    query = "?token=..." if token else ""
    notes = [f"the preview is at http://{here}:{port}/{query}"]
    if token is None and not _is_loopback(host):
        notes.append(
            "whoever reaches this machine can watch; --preview-token asks for a token"
        )
    return notes


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
