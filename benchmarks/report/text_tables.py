"""A record as text and as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from derain.benchmarks.analysis.limits import Limits, Verdict
from derain.benchmarks.report.record import Case, Record, Row

_ABSENT = "-"  # not measured

_COLUMNS = (
    *("row", "median ms", "p90", "p95", "p99", "min", "frames/s"),
    *("x eager", "x best PyTorch", "start s", "peak MB", "model MB", "PSNR", "J/frame"),
    "of limit",
)


def text(record: Record) -> str:
    """The record for a terminal."""
    lines = [
        record.machine.device,
        f"{record.machine.system}, {_threads(record)}, "
        f"{'a process for each row' if record.processes == 'each' else 'one process'}",
    ]
    lines += [f"warning: {warning}" for warning in record.conditions.warnings]
    for case in record.cases:
        lines += ["", *_title(case), *_aligned(case_table(case))]
        lines += _below(case)
    if record.ceilings:
        lines += ["", "measured ceilings: " + _ceilings(record)]
    return "\n".join(lines)


def markdown(record: Record) -> str:
    """The record as a Markdown document."""
    lines = [
        f"# {record.machine.device}",
        "",
        f"`{' '.join(record.command)}`, {record.created}, commit {record.commit}, "
        f"{_threads(record)}, {record.machine.system}.",
    ]
    if record.conditions.warnings:
        lines += ["", *(f"- warning: {w}" for w in record.conditions.warnings)]
    for case in record.cases:
        lines += ["", f"## {case.model}, {case.size}", ""]
        lines += markdown_table(case_table(case))
        below = [*_title(case)[1:], *_below(case)]
        lines += ["", *(f"- {line.strip()}" for line in below)]
    if record.ceilings:
        lines += ["", "Measured ceilings: " + _ceilings(record) + "."]
    return "\n".join(lines) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """`rows`, of which the first is the head, in Markdown."""
    head, *body = rows
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in body]
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' + '---:|' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in escaped),
    ]


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


def _cells(row: Row) -> list[str]:
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


def _memory(row: Row) -> str:
    parts = []
    if row.peak_host_bytes is not None:
        parts.append(f"{row.peak_host_bytes / 1e6:.0f}")
    if row.peak_device_bytes is not None:
        parts.append(f"{row.peak_device_bytes / 1e6:.0f} on the GPU")
    return ", ".join(parts) or _ABSENT


def _psnr(row: Row) -> str:
    if row.quality is None:
        return _ABSENT
    psnr = row.quality.psnr_db
    return "identical" if psnr is None else f"{psnr:.1f} dB"


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
        if notes:
            lines.append(f"  {row.key}: {'; '.join(notes)}")
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


def _limits(limits: Limits, parameters: int | None) -> list[str]:
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


def _verdict(verdict: Verdict) -> str:
    need = max(verdict.arithmetic_percent, verdict.memory_percent)
    return (
        f"{verdict.fps} frames/s in FP16 "
        f"{'fit' if verdict.fits else 'do not fit'} on {verdict.module}: needs "
        f"{need:.0f} % of what it reaches (arithmetic {verdict.arithmetic_percent:.0f} "
        f"%, memory layer by layer {verdict.memory_percent:.0f} %)"
    )


def _ceilings(record: Record) -> str:
    units = {"copy": "GB/s", "product": "GFLOP/s"}
    return ", ".join(
        f"{c.device} {c.kind} {c.precision} {c.giga_per_s:.0f} {units[c.kind]} "
        f"({c.library})"
        for c in record.ceilings
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
