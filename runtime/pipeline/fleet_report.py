"""What a run of several cameras says at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from derain.core.tables import text_table
from derain.runtime.pipeline.report import Report

_HEAD = ("camera", "frames", "frames/s", "network ms", "dropped", "age p95 ms", "into")


@dataclass(slots=True, kw_only=True)
class FleetReport:
    """What each camera did; ``print`` shows it to people.

    Attributes:
        cameras: Their reports, by name; of those taken out, too.
        failures: What those failed with that did, by name.
        seconds: How long all of it took.
        stopped_by: The signal that ended it, or None.
    """

    cameras: dict[str, Report] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped_by: str | None = None

    @property
    def frames(self) -> int:
        """How many were written, of all cameras."""
        return sum(report.frames for report in self.cameras.values())

    @property
    def failure(self) -> str | None:
        """Which cameras failed, in one line; None where all went well."""
        if not self.failures:
            return None
        count = len(self.cameras.keys() | self.failures.keys())
        names = ", ".join(self.failures)
        return f"{len(self.failures)} of {count} cameras failed: {names}"

    @property
    def is_partial(self) -> bool:
        """Whether some have failed, and others have not."""
        return bool(self.failures and self.cameras.keys() - self.failures.keys())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"frames": self.frames, **asdict(self)}

    def __str__(self) -> str:
        rows = [_HEAD, *(_row(name, each) for name, each in self.cameras.items())]
        lines = text_table(rows, left=(0, len(_HEAD) - 1))
        fps = self.frames / self.seconds if self.seconds else 0.0
        lines.append(
            f"{self.frames} frames in {self.seconds:.1f} s, {fps:.1f} frames/s"
        )
        for report in list(self.cameras.values())[:1]:
            lines.append(f"{report.model} {report.precision}, {report.backend}")
        lines += [f"{name} failed: {text}" for name, text in self.failures.items()]
        return "\n".join(lines)


def _row(name: str, report: Report) -> tuple[str, ...]:
    statistics, ms = report.statistics, report.derain_ms
    age = statistics["age_ms"]
    return (
        name,
        str(report.frames),
        f"{report.fps:.1f}",
        "-" if ms is None else f"{ms:.1f}",
        str(statistics["dropped"]),
        "-" if age is None else f"{age['p95']:.1f}",
        report.sink,
    )
