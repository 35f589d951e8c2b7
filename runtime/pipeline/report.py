"""What a run says at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.loop import Summary
from derain.runtime.telemetry.statistics import Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run did; ``print`` shows it to people.

    Attributes:
        frames: How many were written; of several sinks, to the one that took most.
        seconds: How long all of it took, reading and writing included.
        fps: Frames per second, reading and writing included.
        derain_ms: Median time in the network for one of the last frames, in ms; None
            without a frame.
        model: Name of the network.
        precision: Lowest precision in its graph.
        backend: What really ran it.
        golden_psnr_db: How close its self-test came, in dB; None if it was identical.
        sink: Where the result is.
        statistics: See ``docs/statistics.md``.
        stopped_by: The signal that ended it, or None.
    """

    frames: int
    seconds: float
    fps: float
    derain_ms: float | None
    model: str
    precision: str
    backend: str
    golden_psnr_db: float | None
    sink: str
    statistics: dict[str, Any]
    stopped_by: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        psnr = self.golden_psnr_db
        ms = self.derain_ms
        network = "no frame" if ms is None else f"{ms:.1f} ms per frame (median)"
        return "\n".join(
            (
                f"frames     {self.frames} in {self.seconds:.1f} s, "
                f"{self.fps:.1f} frames/s",
                f"dropped    {_lost(self.statistics)}",
                f"network    {network}, {self.model} {self.precision}",
                f"backend    {self.backend}",
                "self-test  " + ("identical" if psnr is None else f"{psnr:.1f} dB"),
                f"result     {self.sink}",
            )
        )


def reported(
    summary: Summary,
    derainer: Derainer,
    names: Sequence[str],
    statistics: Statistics,
) -> Report:
    """The report of a run that did what `summary` says, into sinks of these names."""
    manifest, psnr = derainer.bundle.manifest, derainer.golden_psnr_db
    return Report(
        frames=summary.frames,
        seconds=round(summary.seconds, 3),
        fps=round(summary.fps, 3),
        derain_ms=summary.derain_ms and round(summary.derain_ms, 3),
        model=manifest.model,
        precision=manifest.precision,
        backend=derainer.description,
        golden_psnr_db=None if math.isinf(psnr) else round(psnr, 2),
        sink=", ".join(names),
        statistics=statistics.as_dict(),
    )


def _lost(statistics: dict[str, Any]) -> str:
    """How many frames did not become a derained one, and where."""
    parts = [f"{statistics['dropped']} of {statistics['captured']}"]
    if statistics["passed_through"]:
        parts.append(f"{statistics['passed_through']} passed through")
    parts += [
        f"{sink['dropped']} more by {sink['sink']}"
        for sink in statistics["sinks"]
        if sink["dropped"]
    ]
    return ", ".join(parts)
