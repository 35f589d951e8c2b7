"""Statistics as lines on standard error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from derain.runtime.pipeline.options import Style
from derain.runtime.telemetry.roster import Watched


class Reporter:
    """Writes a line every few seconds of a ``with Reporter(...):``, and at its end.

    Args:
        watched: What is reported: a line for each camera.
        style: ``json``: one object a line; ``text``: for people.
        period_s: Seconds between lines.
        write: Takes a line; None: it goes to standard error.
    """

    def __init__(
        self,
        watched: Watched,
        style: Style,
        period_s: float,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._watched = watched
        self._line = json_line if style == "json" else text_line
        self._period_s = period_s
        self._write = write or partial(click.echo, err=True)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics")

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._report()

    def _report(self) -> None:
        for name, statistics in self._watched.cameras():
            values = statistics.as_dict()
            self._write(self._line({"camera": name, **values} if name else values))

    def _run(self) -> None:
        while not self._done.wait(self._period_s):
            self._report()


def json_line(values: dict[str, Any]) -> str:
    """`Statistics.as_dict` on one line."""
    return json.dumps(values, separators=(",", ":"))


def text_line(values: dict[str, Any]) -> str:
    """`Statistics.as_dict` for people, on one line; times are of the first sink."""
    parts = [
        *([f"{values['camera']}: {values['state']}"] if "camera" in values else []),
        f"{values['fps']:.1f} frames/s",
        f"{values['captured']} captured",
        f"{values['derained']} derained",
        f"{values['dropped']} dropped",
        f"{values['passed_through']} passed through",
        f"{values['reconnects']} reconnects",
    ]
    if values["resets"]:
        parts.append(_resets(values["resets"]))
    if (values["load"] or 0) > 1:
        parts.append(f"load {values['load']:.0%}")
    if not values["signal"]:
        parts.append("no signal")
    if values["gate"]:
        parts.append(f"gate: {values['gate']}")
    parts += _times(values)
    if values["sink_failures"]:
        parts.append(f"{values['sink_failures']} sinks failed")
    if values["memory_bytes"]:
        parts.append(f"{values['memory_bytes'] / 1e6:.0f} MB")
    parts += [
        f"{zone} {value:.0f} °C" for zone, value in values["temperature_c"].items()
    ]
    parts += [f"{rail} {value:.1f} W" for rail, value in values["power_w"].items()]
    return ", ".join(parts)


def _resets(resets: dict[str, int]) -> str:
    causes = [f"{number} {cause}" for cause, number in resets.items() if number]
    text = f"{sum(resets.values())} resets"
    return f"{text} ({' + '.join(causes)})" if causes else text


def _times(values: dict[str, Any]) -> list[str]:
    """The stages of a frame, in its order, and its age in the end."""
    sink = values["sinks"][0] if values["sinks"] else {}
    stages = {
        "read": values["read_ms"],
        "wait": values["wait_ms"],
        "derain": values["derain_ms"],
        "sink wait": sink.get("wait_ms"),
        "write": sink.get("write_ms"),
        "age": values["age_ms"],
    }
    shown = [
        f"{name} " + "/".join(f"{value:.1f}" for value in found.values())
        for name, found in stages.items()
        if found
    ]
    return ["p50/p95/p99 in ms: " + ", ".join(shown)] if shown else []
