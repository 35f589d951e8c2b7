"""Two records side by side: what changed beyond the noise.

The noise is that of the rounds: each record's rounds are drawn again with replacement,
a thousand times, and the ratio of the medians is taken each time. What differs from one
day to another, such as a machine's temperature, is not in it: compare runs that were
made one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from derain.benchmarks.latency.percentiles import INTERVAL
from derain.benchmarks.report.record import CandidateResult, Record
from derain.benchmarks.report.text_tables import milliseconds

_DRAWS = 1000
_LEAST_ROUNDS = 3  # of fewer there is no noise to speak of

Change = Literal["same", "slower", "faster", "unknown", "new", "gone", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """One row in both records.

    Attributes:
        model: Of the case.
        size: Of the case.
        key: Of the row.
        change: ``slower`` and ``faster`` where the whole interval is on one side of
            zero; ``unknown`` with fewer than three rounds; ``broken`` where it failed
            in the second record alone; ``new`` and ``gone`` where it is in one.
        before_ms: Median latency; null where there is none.
        after_ms: Median latency; null where there is none.
        percent: How much longer a frame takes now.
        low_percent: 2.5th percentile of that.
        high_percent: 97.5th percentile of that.
    """

    model: str
    size: str
    key: str
    change: Change
    before_ms: float | None = None
    after_ms: float | None = None
    percent: float | None = None
    low_percent: float | None = None
    high_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordComparison:
    """What changed.

    Attributes:
        rows: Every row of either record.
        notes: Why the two may not be comparable.
    """

    rows: list[RowChange]
    notes: list[str]

    def worse_than(self, percent: float) -> bool:
        """Whether a row is slower by more than `percent` beyond the noise, or fails."""
        return any(
            row.change in ("broken", "gone")
            or (row.change == "slower" and (row.percent or 0.0) > percent)
            for row in self.rows
        )

    def text(self) -> str:
        """For a terminal."""
        lines = [f"note: {note}" for note in self.notes]
        for row in self.rows:
            what = f"{row.model} {row.size} {row.key}: {row.change}"
            if row.percent is not None:
                what += (
                    f", {milliseconds(row.before_ms)} -> {milliseconds(row.after_ms)} "
                    f"ms, {row.percent:+.1f} %"
                )
            if row.low_percent is not None:
                what += f" [{row.low_percent:+.1f} to {row.high_percent:+.1f}]"
            lines.append(what)
        return "\n".join(lines)


def compare_records(before: Record, after: Record) -> RecordComparison:
    """What changed from `before` to `after`."""
    old, new = dict(_rows(before)), dict(_rows(after))
    keys = [*old, *(key for key in new if key not in old)]
    return RecordComparison(
        rows=[_change(key, old.get(key), new.get(key)) for key in keys],
        notes=list(_notes(before, after)),
    )


def _rows(record: Record) -> Iterator[tuple[tuple[str, str, str], CandidateResult]]:
    for case in record.cases:
        for row in case.rows:
            yield (case.model, case.size, row.key), row


def _change(
    key: tuple[str, str, str], old: CandidateResult | None, new: CandidateResult | None
) -> RowChange:
    model, size, name = key

    def change(kind: Change) -> RowChange:
        return RowChange(
            model=model,
            size=size,
            key=name,
            change=kind,
            before_ms=_median(old),
            after_ms=_median(new),
        )

    if old is None or new is None:
        return change("new" if old is None else "gone")
    if new.error is not None:
        return change("same" if old.error is not None else "broken")
    if old.error is not None or not old.rounds_ms or not new.rounds_ms:
        return change("new")
    medians = _median(old), _median(new)
    assert medians[0] is not None
    assert medians[1] is not None
    percent = (medians[1] / medians[0] - 1) * 100
    interval: tuple[float | None, float | None] = (None, None)
    kind: Change = "unknown"
    if min(len(old.rounds_ms), len(new.rounds_ms)) >= _LEAST_ROUNDS:
        low, high = _interval(old.rounds_ms, new.rounds_ms)
        interval = low, high
        kind = "slower" if low > 0 else "faster" if high < 0 else "same"
    return RowChange(
        model=model,
        size=size,
        key=name,
        change=kind,
        before_ms=medians[0],
        after_ms=medians[1],
        percent=percent,
        low_percent=interval[0],
        high_percent=interval[1],
    )


def _median(row: CandidateResult | None) -> float | None:
    return row.latency.median_ms if row and row.latency else None


def _interval(
    old: Sequence[Sequence[float]], new: Sequence[Sequence[float]]
) -> tuple[float, float]:
    random = np.random.default_rng(0)
    ratios = _draw(new, random) / _draw(old, random)
    low, high = np.percentile((ratios - 1) * 100, INTERVAL)
    return float(low), float(high)


def _draw(
    rounds: Sequence[Sequence[float]], random: np.random.Generator
) -> NDArray[np.float64]:
    """Medians of the rounds' medians, drawn again and again."""
    medians = np.array([np.median(sample) for sample in rounds])
    chosen = random.integers(0, len(medians), (_DRAWS, len(medians)))
    drawn: NDArray[np.float64] = np.median(medians[chosen], axis=1)
    return drawn


def _notes(before: Record, after: Record) -> Iterator[str]:
    pairs = [
        ("device", before.machine.device, after.machine.device),
        ("power mode", before.machine.power_mode, after.machine.power_mode),
        ("system", before.machine.system, after.machine.system),
        ("threads", before.threads, after.threads),
        ("processes", before.processes, after.processes),
    ]
    names = {*before.machine.packages, *after.machine.packages}
    for name in sorted(names):
        packages = before.machine.packages, after.machine.packages
        pairs.append((name, packages[0].get(name), packages[1].get(name)))
    for name, old, new in pairs:
        if old != new:
            yield f"{name} differs: {old}, then {new}"
    for when, record in (("first", before), ("second", after)):
        for warning in record.conditions.warnings:
            yield f"{when} record: {warning}"
