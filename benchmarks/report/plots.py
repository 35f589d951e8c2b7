"""PNG plots of a record: latencies, speed against quality, roofline."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from derain.benchmarks.analysis.roofline import best_peak
from derain.benchmarks.latency.candidates import REFERENCE
from derain.benchmarks.report.record import CandidateResult, Case, Record, write_file

_INCHES = (9.0, 5.0)
_DPI = 120
_MARKERS = "os^vDPX*<>"
_COLOURS = [f"C{i}" for i in range(10)]
_ROW_INCHES = 0.3  # height of a line's name
_DECADES = 2.5  # of an axis; on longer ones, 2 and 5 would touch their neighbours
# Where a row with no difference is drawn. One value of a 1280x720 frame that is off by
# one level is 112.5 dB.
_IDENTICAL_DB = 120.0

_Style = dict[str, Any]  # keywords of Axes.plot


def write_plots(record: Record, folder: Path) -> list[Path]:
    """Write the plots of every case of `record` into `folder`; which they are.

    A plot nothing was measured for is not written.

    Raises:
        BenchmarkError: They cannot be written.
    """
    written = []
    for case in record.cases:
        rows = [row for row in case.rows if row.rounds_ms]
        styles = _styles(case)
        name = f"{case.model.replace(':', '.')}-{case.size}"
        title = f"{case.model}, {case.size}, {record.machine.device}"
        if rows:
            figure, axes = _figure(title, len(rows))
            _draw_latencies(axes, rows, styles)
            written.append(_save(figure, folder / f"{name}-latency.png"))
        if any(_decibels(row) is not None for row in rows):
            figure, axes = _figure(title)
            _draw_quality(figure, axes, rows, styles)
            written.append(_save(figure, folder / f"{name}-quality.png"))
        figure, axes = _figure(title)
        if _draw_roofline(figure, axes, record, case, styles):
            written.append(_save(figure, folder / f"{name}-roofline.png"))
    return written


def _styles(case: Case) -> dict[str, _Style]:
    """Marker and colour of each row, the same in all plots of `case`, no two alike."""
    count = len(_MARKERS)
    return {
        row.key: {
            "marker": _MARKERS[i % count],
            "color": _COLOURS[(i + i // count) % len(_COLOURS)],
        }
        for i, row in enumerate(case.rows)
    }


def _figure(title: str, lines: int = 0) -> tuple[Figure, Axes]:
    width, height = _INCHES
    size = width, max(height, 1 + lines * _ROW_INCHES)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure, axes


def _draw_latencies(
    axes: Axes, rows: list[CandidateResult], styles: dict[str, _Style]
) -> None:
    """Every frame of every row as a point, the median as a line."""
    for i, row in enumerate(reversed(rows)):
        frames = [ms for sample in row.rounds_ms for ms in sample]
        # Spread by number, not by chance: the same record gives the same plot.
        heights = [i + (k % 9 - 4) * 0.07 for k in range(len(frames))]
        style = styles[row.key]
        axes.plot(frames, heights, markersize=3, alpha=0.5, linestyle="", **style)
        assert row.latency is not None
        axes.vlines(row.latency.median_ms, i - 0.4, i + 0.4, colors="black")
    axes.set_yticks(range(len(rows)), [row.key for row in reversed(rows)], fontsize=8)
    axes.set_xscale("log")
    _number_ticks(axes.xaxis)
    axes.set_xlabel("ms a frame, every frame; line: median")


def _draw_quality(
    figure: Figure,
    axes: Axes,
    rows: list[CandidateResult],
    styles: dict[str, _Style],
) -> None:
    truth = any(row.truth is not None for row in rows)
    for row in rows:
        decibels = _decibels(row)
        if decibels is None and row.key == REFERENCE and not truth:
            decibels = _IDENTICAL_DB
        if decibels is None or row.latency is None:
            continue
        speed = 1000 / row.latency.median_ms
        style = styles[row.key]
        axes.plot(speed, decibels, linestyle="", label=row.key, **style)
    figure.legend(loc="outside right upper", fontsize=7)
    axes.set_xscale("log")
    _number_ticks(axes.xaxis)
    axes.set_xlabel("frames/s, one after the other")
    axes.set_ylabel(
        "PSNR against the truth, dB"
        if truth
        else f"PSNR against PyTorch FP32, dB ({_IDENTICAL_DB:.0f}: identical)"
    )


def _number_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 in place of powers, of which two decades or less have too few."""
    low, high = axis.get_view_interval()
    long = math.log10(high / low) > _DECADES
    axis.set_major_locator(LogLocator(subs=(1.0,) if long else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _decibels(row: CandidateResult) -> float | None:
    if row.truth is not None:
        return row.truth.psnr_db
    if row.quality is None:
        return None
    psnr = row.quality.psnr_db
    return _IDENTICAL_DB if psnr is None else psnr


def _draw_roofline(
    figure: Figure,
    axes: Axes,
    record: Record,
    case: Case,
    styles: dict[str, _Style],
) -> bool:
    """Draw the ceilings of the processor and the rows below; whether there are any."""
    flops = best_peak(record.ceilings, "cpu", "product")
    bandwidth = best_peak(record.ceilings, "cpu", "copy")
    rows = [row for row in case.rows if row.roofline_share is not None and row.latency]
    if not flops or not bandwidth or not rows or case.limits is None:
        return False
    ridge = flops / bandwidth
    ends = [ridge / 100, ridge, ridge * 30]
    axes.plot(ends, [min(flops, bandwidth * x) for x in ends], "k-")
    width, _, height = case.size.partition("x")
    pixels = int(width) * int(height)
    graphs = sorted(case.limits.counts, key=lambda counts: counts.flop_per_byte)
    for k, counts in enumerate(graphs):
        operations = 2 * counts.kmac_per_px * 1000 * pixels / 1e9
        axes.axvline(counts.flop_per_byte, linestyle=":", color="grey")
        axes.annotate(
            f"{counts.graph} graph",
            (counts.flop_per_byte, flops),
            textcoords="offset points",
            # The names stand outside of two lines that are close to each other.
            xytext=(3, -5) if k else (-3, -5),
            ha="left" if k else "right",
            va="top",
            rotation=90,
            fontsize=7,
        )
        for row in rows:
            ours = row.model_bytes is not None and "bundle" in row.key
            if ours != (counts.graph == "bundle") or row.latency is None:
                continue
            reached = operations / (row.latency.median_ms / 1000)
            style = styles[row.key]
            intensity = counts.flop_per_byte
            axes.plot(intensity, reached, linestyle="", label=row.key, **style)
    figure.legend(loc="outside right upper", fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOP per byte moved, layer by layer")
    axes.set_ylabel("GFLOP/s; line: measured ceilings of the processor")
    return True


def _save(figure: Figure, path: Path) -> Path:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_file(path, content.getvalue())
    return path
