"""What a batch says at its end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from derain.core.atomic_files import require_writable
from derain.core.errors import ConfigError
from derain.core.reading import read_json
from derain.core.tables import text_table

_ROUNDED = ("seconds", "cpu_seconds")
_SHOWN = 40  # rows: a screen; more are in the JSON


def check_report(path: Path, *, force: bool) -> None:
    """Raise where a report cannot be written, or would replace what is none.

    Raises:
        ConfigError: It would.
    """
    try:
        require_writable(path)
        if os.path.lexists(path) and not (force or _is_report(path)):
            raise ConfigError(
                f"--report {path} exists and is no report of derain-batch; replace it "
                "with --force"
            )
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"--report {path} cannot be written: {reason}") from error


def _is_report(path: Path) -> bool:
    try:
        return "lost_workers" in read_json(path)
    except (ValueError, TypeError):
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What became of one clip.

    Attributes:
        source: Its path or URI.
        result: Where it is, or would be.
        state: ``left``: there was no time for it.
        frames: Of the result.
        seconds: How long it took; of the last try.
        cpu_seconds: Processor time of all threads of its worker.
        tries: How often it was tried.
        error: One line; empty unless it failed.
    """

    source: str
    result: str
    state: Literal["done", "failed", "left"]
    frames: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    tries: int = 0
    error: str = ""

    @property
    def fps(self) -> float:
        """Frames per second, reading and writing included."""
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a batch did; ``print`` shows it to people.

    Attributes:
        clips: What became of those that were to be done.
        current: How many were done before, and are as they should be.
        seconds: How long all of it took.
        backends: What really ran the graph, and in how many workers.
        lost_workers: How many died.
        stopped_by: The signal that ended it, or None.
    """

    clips: Sequence[TaskResult]
    current: int
    seconds: float
    backends: dict[str, int]
    lost_workers: int = 0
    stopped_by: str | None = None

    def count(self, state: str) -> int:
        """How many clips are in `state`."""
        return sum(clip.state == state for clip in self.clips)

    @property
    def frames(self) -> int:
        """Of all clips that were done."""
        return sum(clip.frames for clip in self.clips)

    @property
    def fps(self) -> float:
        """Frames per second of all workers together, their start included."""
        return self.frames / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "done": self.count("done"),
            "failed": self.count("failed"),
            "left": self.count("left"),
            "current": self.current,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 3),
            "backends": self.backends,
            "lost_workers": self.lost_workers,
            "stopped_by": self.stopped_by,
            "clips": [
                asdict(clip)
                | {name: round(getattr(clip, name), 3) for name in _ROUNDED}
                for clip in self.clips
            ],
        }

    def __str__(self) -> str:
        lines = []
        # What failed comes first: it must not be among what is not shown.
        rows = sorted(self.clips, key=lambda clip: clip.state != "failed")
        if rows:
            head = ["clip", "state", "frames", "frames/s", "tries", "error"]
            table = [
                [
                    clip.source if clip.state == "failed" else clip.result,
                    clip.state,
                    str(clip.frames),
                    f"{clip.fps:.1f}",
                    str(clip.tries),
                    clip.error,
                ]
                for clip in rows[:_SHOWN]
            ]
            lines += [*text_table([head, *table], left=(0, 1, 5)), ""]
            if len(rows) > _SHOWN:
                lines[-1:] = [f"... and {len(rows) - _SHOWN} more", ""]
        left = f", {self.count('left')} left" if self.count("left") else ""
        lines.append(
            f"clips      {self.count('done')} done, {self.current} done before, "
            f"{self.count('failed')} failed{left}"
        )
        if rows:
            took = f"{self.seconds:.1f} s, {self.fps:.1f} frames/s"
            lines.append(f"frames     {self.frames} in {took}")
        for backend, number in self.backends.items():
            lines.append(f"workers    {number}: {backend}")
        if self.lost_workers:
            lines.append(f"lost       {self.lost_workers} workers died")
        return "\n".join(lines)
