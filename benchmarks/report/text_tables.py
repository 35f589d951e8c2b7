"""A record as text, Markdown, CSV and LaTeX tables."""

from __future__ import annotations

from collections.abc import Callable

from derain.benchmarks.analysis.limits import JetsonVerdict, NetworkLimits
from derain.benchmarks.latency.percentiles import speed_up
from derain.benchmarks.report.record import CandidateResult, Case, Record
from derain.core.tables import csv_table, latex_table, markdown_table, text_table

_ABSENT = "-"  # not measured

_COLUMNS = (
    *("row", "median ms", "p90", "p95", "p99", "min", "frames/s"),
    *(
        "x eager",
        "x best PyTorch",
        "start s",
        "peak MB",
        "model MB",
        "states MB",
        "PSNR",
        "J/frame",
    ),
    "of limit",
)

# Columns of the CSV file: raw figures, with their units.
_FIGURES: dict[str, Callable[[CandidateResult], object]] = {
    "row": lambda row: row.key,
    "precision": lambda row: row.precision,
    "error": lambda row: row.error,
    **{
        name: lambda row, name=name: getattr(row.latency, name, None)  # type: ignore[misc]
        for name in ("median_ms", "p90_ms", "p95_ms", "p99_ms", "min_ms", "max_ms")
    },
    "frames": lambda row: row.latency and row.latency.frames,
    "streamed_fps": lambda row: row.streamed_fps,
    "speed_up": lambda row: row.speed_up and row.speed_up.ratio,
    "speed_up_low": lambda row: row.speed_up and row.speed_up.low,
    "speed_up_high": lambda row: row.speed_up and row.speed_up.high,
    "start_up_s": lambda row: row.start_up and row.start_up.total_s,
    "peak_host_bytes": lambda row: row.peak_host_bytes,
    "peak_device_bytes": lambda row: row.peak_device_bytes,
    "model_bytes": lambda row: row.model_bytes,
    "state_bytes": lambda row: row.state_bytes,
    "look_ahead": lambda row: row.look_ahead,
    "psnr_db": lambda row: row.quality and row.quality.psnr_db,
    "identical": lambda row: row.quality and row.quality.identical,
    "truth_psnr_db": lambda row: row.truth and row.truth.psnr_db,
    "truth_ssim": lambda row: row.truth and row.truth.ssim,
    "joules_per_frame": lambda row: row.joules_per_frame,
    "roofline_share": lambda row: row.roofline_share,
}


def text(record: Record) -> str:
    """The record for a terminal."""
    lines = [
        record.machine.device,
        f"{record.machine.system}, {_threads(record)}, "
        f"{'a process for each row' if record.processes == 'each' else 'one process'}",
    ]
    lines += [f"warning: {warning}" for warning in _warnings(record)]
    for case in record.cases:
        lines += ["", *_title(case), *text_table(case_table(case))]
        lines += _below(case)
    if record.ceilings:
        lines += ["", "measured ceilings: " + _peaks(record)]
    return "\n".join(lines)


def markdown(record: Record) -> str:
    """The record as a Markdown document."""
    lines = [
        f"# {record.machine.device}",
        "",
        f"`{' '.join(record.command)}`, {record.created}, commit {record.commit}, "
        f"{_threads(record)}, {record.machine.system}.",
    ]
    if warnings := _warnings(record):
        lines += ["", *(f"- warning: {w}" for w in warnings)]
    for case in record.cases:
        lines += ["", f"## {case.model}, {case.size}", ""]
        lines += markdown_table(case_table(case))
        below = [*_title(case)[1:], *_below(case)]
        lines += ["", *(f"- {line.strip()}" for line in below)]
    if record.ceilings:
        lines += ["", "Measured ceilings: " + _peaks(record) + "."]
    return "\n".join(lines) + "\n"


def comma_separated(record: Record) -> str:
    """The figures of all cases in one table, unrounded; what is empty was not taken."""
    head = ("model", "size", *_FIGURES)
    lines = [
        [case.model, case.size, *(_plain(get(row)) for get in _FIGURES.values())]
        for case in record.cases
        for row in case.rows
    ]
    return csv_table([head, *lines])


def latex(record: Record) -> str:
    """A ``tabular`` for each case, under a comment that says what it is."""
    tables = []
    for case in record.cases:
        quick = ", quick" if record.quick else ""
        what = f"% {case.model}, {case.size}, {record.machine.device}{quick}"
        tables.append(f"{what}\n{latex_table(case_table(case))}")
    return "\n".join(tables)


def case_table(case: Case) -> list[list[str]]:
    """The table of `case`: its head, and a line for each row.

    A column nothing was measured for is left out; a row that failed keeps its line.
    """
    lines = [list(_COLUMNS), *(_cells(row) for row in case.rows)]
    wanted = [
        i
        for i, name in enumerate(_COLUMNS)
        if name in ("row", "median ms") or any(line[i] != _ABSENT for line in lines[1:])
    ]
    return [[line[i] for i in wanted] for line in lines]


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _cells(row: CandidateResult) -> list[str]:
    latency, speed, best = row.latency, row.speed_up, row.speed_up_best
    return [
        row.key,
        milliseconds(latency.median_ms) if latency and not row.error else "failed",
        *(
            milliseconds(getattr(latency, name) if latency else None)
            for name in ("p90_ms", "p95_ms", "p99_ms", "min_ms")
        ),
        _number(row.streamed_fps),
        _ABSENT
        if speed is None
        else f"{speed.ratio:.2f} [{speed.low:.2f}-{speed.high:.2f}]",
        _ABSENT if best is None else f"{best.ratio:.2f}",
        _number(row.start_up.total_s if row.start_up else None),
        _memory(row),
        _number(row.model_bytes / 1e6 if row.model_bytes is not None else None),
        _number(row.state_bytes / 1e6 if row.state_bytes else None),
        _psnr(row),
        _number(row.joules_per_frame),
        _ABSENT if row.roofline_share is None else f"{row.roofline_share:.0%}",
    ]


def milliseconds(value: float | None) -> str:
    """Three digits at least, and none that mean nothing."""
    return _number(value)


def _number(value: float | None) -> str:
    if value is None:
        return _ABSENT
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"


def _memory(row: CandidateResult) -> str:
    parts = []
    if row.peak_host_bytes is not None:
        parts.append(f"{row.peak_host_bytes / 1e6:.0f}")
    if row.peak_device_bytes is not None:
        parts.append(f"{row.peak_device_bytes / 1e6:.0f} on the GPU")
    return ", ".join(parts) or _ABSENT


def _psnr(row: CandidateResult) -> str:
    if row.quality is None:
        return _ABSENT
    psnr = row.quality.psnr_db
    return "identical" if psnr is None else f"{psnr:.1f} dB"


def _warnings(record: Record) -> list[str]:
    quick = ["quick: few rounds, a first answer; not for quoting"]
    return [*(quick if record.quick else []), *record.conditions.warnings]


def _threads(record: Record) -> str:
    return f"{record.threads} thread{'s' if record.threads > 1 else ''} a row"


def _title(case: Case) -> list[str]:
    lines = [f"{case.model}, {case.size}, weights: {case.weights}"]
    if case.weights == "random":
        lines[0] += " (none ship; speed does not depend on them)"
    if case.quality_reference:
        lines.append(
            f"  PSNR: one frame against {case.quality_reference} in FP32, all channels"
        )
    return lines


def _below(case: Case) -> list[str]:
    """What does not fit into the table."""
    lines = [f"  failed: {row.key}: {row.error}" for row in case.rows if row.error]
    lines += [f"  left out: {name}: {why}" for name, why in case.left_out.items()]
    for row in case.rows:
        if row.latency is None:
            continue
        notes = []
        if row.latency.outliers:
            notes.append(
                f"{row.latency.outliers} outliers of {row.latency.frames} frames, "
                f"longest {milliseconds(row.latency.max_ms)} ms"
            )
        if row.warm_up is not None and not row.warm_up.settled:
            notes.append(f"not settled after {row.warm_up.seconds:.0f} s of warm-up")
        if row.look_ahead:
            late = f"{row.look_ahead} frame{'s' if row.look_ahead > 1 else ''}"
            notes.append(f"pictures come {late} late (look-ahead)")
        if notes:
            lines.append(f"  {row.key}: {'; '.join(notes)}")
    lines += _of_the_first(case)
    for row in case.rows:
        if len(row.split_ms) > 1:
            stages = [f"{k} {milliseconds(v)}" for k, v in row.split_ms.items()]
            lines.append(f"  split of {row.key}, ms: {', '.join(stages)}")
    for row in case.rows:
        if row.truth is not None:
            truth = row.truth
            psnr = "perfect" if truth.psnr_db is None else f"{truth.psnr_db:.2f} dB"
            lines.append(
                f"  against the truth, {row.key}: {psnr}, SSIM {truth.ssim:.4f} on Y, "
                f"{truth.pictures} pictures"
            )
    if case.limits is not None:
        lines += _limits(case.limits, case.parameters)
    return lines


def _of_the_first(case: Case) -> list[str]:
    """How fast the first row is, held against others, where PyTorch took no part."""
    rows = [row for row in case.rows if row.rounds_ms]
    if not rows or any(row.speed_up is not None for row in case.rows):
        return []
    first, *others = rows
    lines = []
    for other in others:
        speed = speed_up(first.rounds_ms, other.rounds_ms)
        lines.append(
            f"  {first.key} is {speed.ratio:.2f} [{speed.low:.2f}-{speed.high:.2f}] "
            f"times as fast as {other.key}"
        )
    return lines


def _limits(limits: NetworkLimits, parameters: int | None) -> list[str]:
    lines = [
        f"  {counts.graph} graph: {counts.kmac_per_px:.1f} kMAC/px, "
        f"{counts.moved_bytes / 1e6:.0f} MB moved layer by layer (at least "
        f"{counts.least_bytes / 1e6:.1f}), {counts.flop_per_byte:.1f} FLOP/byte"
        for counts in limits.counts
    ]
    if parameters is not None:
        lines.append(f"  {parameters:,} parameters")
    lines += [
        f"  roofline of this machine, {kind}: {milliseconds(ms)} ms"
        for kind, ms in limits.roofline_ms.items()
    ]
    return [
        *lines,
        *(f"  computed, not measured: {_verdict(v)}" for v in limits.verdicts),
    ]


def _verdict(verdict: JetsonVerdict) -> str:
    need = max(verdict.arithmetic_percent, verdict.memory_percent)
    return (
        f"{verdict.fps} frames/s in FP16 "
        f"{'fit' if verdict.fits else 'do not fit'} on {verdict.module}: needs "
        f"{need:.0f} % of what it reaches (arithmetic {verdict.arithmetic_percent:.0f} "
        f"%, memory layer by layer {verdict.memory_percent:.0f} %)"
    )


def _peaks(record: Record) -> str:
    units = {"copy": "GB/s", "product": "GFLOP/s"}
    return ", ".join(
        f"{c.device} {c.kind} {c.precision} {c.giga_per_s:.0f} {units[c.kind]} "
        f"({c.library})"
        for c in record.ceilings
    )
