"""The live page: before and after in a browser, with the figures of the run.

    sink.py    a sink that codes frames as JPEG, where somebody watches
    hub.py     the newest picture of each view, from the sink's thread to the viewers
    app.py     the page, the pictures and the statistics over HTTP (ASGI)
    access.py  who may see them
    connections.py  how many at once, and what becomes of one too many
    server.py  uvicorn in a thread of its own; the only module that needs the extra
    wall.py    several cameras on one page, and a page for each of them
    page/      the pages themselves: a file each, nothing from outside

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


class Wall(Preview, Protocol):
    """A page that shows several cameras."""

    def sink(self, name: str, statistics: Statistics) -> Sink:
        """Show one more camera, until `remove`: one that has failed, too."""
        ...

    def remove(self, name: str) -> None:
        """Take a camera off the page."""
        ...


def open_wall(host: str, port: int, token: str | None = None) -> Wall:
    """A page of several cameras; arguments and errors as `open_preview`."""
    server = load("derain.runtime.preview.server", "WallServer", extra="preview")
    return cast(Wall, server(host, port, token))


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
