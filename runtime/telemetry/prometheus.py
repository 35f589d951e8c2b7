"""Statistics in Prometheus' text format.

The format is lines of text; a package for it would be one more on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from derain.runtime.telemetry.roster import Watched
from derain.runtime.telemetry.statistics import COUNTERS, STATES, Counter, Statistics
from derain.runtime.telemetry.timing import Timing

_COUNTED: dict[Counter, str] = {
    "captured": "Frames that came out of the source.",
    "derained": "Frames that went through the network and on to the sinks.",
    "passed_through": "Frames that went on to the sinks as they were.",
    "dropped": "Frames that went nowhere.",
    "late": "Frames dropped or passed through for want of time.",
    "batched": "Frames that went through the network with those of other cameras.",
    "looks": "Frames with which the network looked whether it rains.",
    "reconnects": "Times that a lost source came back.",
    "no_signal": "Stand-ins shown while the source was lost.",
}
_GAUGES = {
    "frames_per_second": ("fps", "Frames a second to the sinks, of five seconds."),
    "signal": ("signal", "Whether a live source delivers."),
    "load": ("load", "Share of its time the network needs for all frames that come."),
    "gate_dry": ("gate", "Whether the rain gate lets frames pass."),
    "removed_rain_levels": ("rain", "What the network removes, in grey levels."),
}


def prometheus_text(watched: Watched) -> str:
    """All of it in Prometheus' text format 0.0.4; times are in seconds.

    Quantiles are of the last 1024 frames, sums and counts of all. Where there are
    several cameras, all that is one's own has the label ``camera``.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    families = _Families()
    for number, (name, statistics) in enumerate(watched.cameras()):
        values = statistics.as_dict()
        labels = {"camera": name} if name else {}
        _camera(families, statistics, values, labels)
        if number == 0:
            _machine(families, values)
    return families.text()


class _Families:
    """Samples by metric: all those of one stand together, whatever comes first."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def family(self, name: str, kind: str, help: str) -> None:
        name = f"derain_{name}"
        self._lines.setdefault(name, [f"# HELP {name} {help}", f"# TYPE {name} {kind}"])

    def add(
        self,
        name: str,
        kind: str,
        help: str,
        value: float | str,
        labels: dict[str, str] | None = None,
    ) -> None:
        self.family(name, kind, help)
        self._lines[f"derain_{name}"].append(
            f"derain_{name}{_labelled(labels or {})} {value}"
        )

    def summary(
        self, name: str, help: str, timing: Timing, labels: dict[str, str]
    ) -> None:
        self.family(name, "summary", help)
        self._lines[f"derain_{name}"] += _summary(f"derain_{name}", timing, labels)

    def text(self) -> str:
        return "\n".join(line for lines in self._lines.values() for line in lines) + (
            "\n" if self._lines else ""
        )


def _camera(
    families: _Families,
    statistics: Statistics,
    values: dict[str, Any],
    labels: dict[str, str],
) -> None:
    """What one camera says."""
    if statistics.about is not None:
        about = labels | asdict(statistics.about)
        families.add("info", "gauge", "What runs; always 1.", 1, about)
    for state in STATES:
        families.add(
            "state",
            "gauge",
            "1 for what a camera is at: opening, running, ended or failed.",
            int(values["state"] == state),
            {**labels, "state": state},
        )
    for counter in COUNTERS:
        name, help = f"{counter}_total", _COUNTED[counter]
        families.add(name, "counter", help, values[counter], labels)
    for cause, number in (values["resets"] or {}).items():
        families.add(
            "resets_total",
            "counter",
            "Times that what the network remembers was given up.",
            number,
            {**labels, "cause": cause},
        )
    for name, (key, help) in _GAUGES.items():
        if (value := values[key]) is not None:
            value = int(value == "dry") if key == "gate" else value
            value = int(value) if key == "signal" else value
            families.add(name, "gauge", help, value, labels)
    for sink in values["sinks"]:
        where = {**labels, "sink": sink["sink"]}
        help = "Frames written, stand-ins without signal included."
        families.add("sink_written_total", "counter", help, sink["written"], where)
        help = "Frames that the sink was too slow for, or that came after it failed."
        families.add("sink_dropped_total", "counter", help, sink["dropped"], where)
        help = "Whether the sink has failed."
        families.add("sink_failed", "gauge", help, int(sink["failed"]), where)
    for stage in ("read", "wait", "derain"):
        timing: Timing = getattr(statistics, stage)
        _stage(families, timing, {**labels, "stage": stage})
    for row in list(statistics.sinks):
        where = {"sink": row.name}
        _stage(families, row.wait, {**labels, "stage": "sink_wait", **where})
        _stage(families, row.write, {**labels, "stage": "sink_write", **where})
        help = "Time from the capture of a live frame to the end of the sink's write."
        families.summary("frame_age_seconds", help, row.age, {**labels, **where})


def _stage(families: _Families, timing: Timing, labels: dict[str, str]) -> None:
    families.summary("stage_seconds", "Time of a frame in a stage.", timing, labels)


def _machine(families: _Families, values: dict[str, Any]) -> None:
    """What the process and the device say, once for all cameras."""
    if values["memory_bytes"] is not None:
        help = "Resident memory of the process."
        families.add("resident_memory_bytes", "gauge", help, values["memory_bytes"])
    for zone, value in values["temperature_c"].items():
        help = "Temperature of a thermal zone."
        families.add("temperature_celsius", "gauge", help, value, {"zone": zone})
    for rail, value in values["power_w"].items():
        families.add("power_watts", "gauge", "Power of a rail.", value, {"rail": rail})


def _summary(name: str, timing: Timing, labels: dict[str, str]) -> Iterator[str]:
    for key, ms in (timing.percentiles() or {}).items():
        quantile = _labelled({**labels, "quantile": str(int(key[1:]) / 100)})
        yield f"{name}{quantile} {ms / 1000:.6f}"
    yield f"{name}_sum{_labelled(labels)} {timing.sum_ms / 1000:.6f}"
    yield f"{name}_count{_labelled(labels)} {timing.count}"


def _labelled(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
