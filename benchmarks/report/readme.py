"""Tables of the documents, made from the committed records.

Run it as ``python -m derain.benchmarks.report.readme [FILE...] [--check]``; without
FILE it fills README.md and all of ``docs/``, and writes the cards of the weights.

Between ``<!-- bench:DEVICE/MODEL-SIZE -->`` and ``<!-- /bench -->`` stands the table of
that case, and between ``<!-- bench:DEVICE/all-SIZE -->`` and the same end a table with
a line for each network; with ``int8`` in the place of ``all`` it compares INT8 with
FP32. DEVICE is a folder of ``benchmarks/results``; where several
records have a case, the newest counts. Between ``<!-- quality:DATASET -->`` and
``<!-- /quality -->`` stands what ``derain-eval`` found there. From
``<!-- table:NAME -->`` to ``<!-- /table -->`` is one of
`derain.benchmarks.report.network_tables`: ``networks``, ``bytes``, ``frame-rates``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from derain.benchmarks.latency.percentiles import speed_up
from derain.benchmarks.report.model_cards import write_cards
from derain.benchmarks.report.network_tables import (
    ByteRecord,
    byte_rows,
    frame_rate_rows,
    network_rows,
)
from derain.benchmarks.report.quality_table import quality_rows
from derain.benchmarks.report.record import (
    CandidateResult,
    Case,
    Record,
    read_record,
    write_text,
)
from derain.benchmarks.report.text_tables import (
    case_table,
    milliseconds,
)
from derain.core.commands import Command
from derain.core.errors import BenchmarkError
from derain.core.tables import markdown_table

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results"
QUALITY = RESULTS / "quality"
BYTES = RESULTS / "bytes"
WEIGHTS = _ROOT / "models" / "weights"
DOCS = _ROOT / "docs"
CARDS = DOCS / "models"
_SHOWN = ("epyc-2-cores", "1280x720")  # whose milliseconds the table of networks shows
_MARKED = re.compile(
    r"(?P<begin><!-- bench:(?P<device>[^/\s]+)/(?P<name>\S+)-(?P<size>\d+x\d+) -->\n)"
    r".*?(?P<end><!-- /bench -->)",
    re.DOTALL,
)
_BEGINNING = "<!-- bench:"
_QUALITY = re.compile(
    r"(?P<begin><!-- quality:(?P<name>\S+) -->\n).*?(?P<end><!-- /quality -->)",
    re.DOTALL,
)
_TABLE = re.compile(
    r"(?P<begin><!-- table:(?P<name>\S+) -->\n).*?(?P<end><!-- /table -->)", re.DOTALL
)
_OVERVIEW = ("network", "PyTorch eager", "best PyTorch", "plain ONNX", "our bundle")
_INT8 = (
    "network",
    "ONNX Runtime, FP32",
    "ONNX Runtime, INT8",
    "OpenVINO, FP32",
    "OpenVINO, INT8",
)
_OURS = "bundle-fp"  # not the row that runs our graph on another's library


def fill_tables(text: str, results: Path = RESULTS, quality: Path = QUALITY) -> str:
    """`text` with every marked table made anew from the records.

    Args:
        text: Of a Markdown file.
        results: Folder of the records of ``derain-bench``.
        quality: Folder of the answers of ``derain-eval``.

    Raises:
        BenchmarkError: A marker has no end, or no record has its case.
    """
    if text.count(_BEGINNING) != len(_MARKED.findall(text)):
        raise BenchmarkError(
            "a table's marker is not of the form <!-- bench:DEVICE/MODEL-SIZE --> with "
            "<!-- /bench --> after the table"
        )

    def table(match: re.Match[str]) -> str:
        name, size = match["name"], match["size"]
        newest = _newest(results / match["device"], size)
        chosen = [
            pair for model, pair in newest.items() if name in (model, *_OVERVIEWS)
        ]
        if not chosen:
            raise BenchmarkError(
                f"no record in {results / match['device']} has {name} at {size}"
            )
        record, case = chosen[-1]
        cases = [case for _, case in chosen]
        rows = _OVERVIEWS[name](cases) if name in _OVERVIEWS else case_table(case)
        note = (
            f"{record.machine.device}, {record.threads} threads, "
            f"{record.created[:10]}, `derain-bench`."
        )
        lines = [*markdown_table(rows), "", note, ""]
        return match["begin"] + "\n".join(lines) + match["end"]

    def scores(match: re.Match[str]) -> str:
        lines = markdown_table(quality_rows(quality / match["name"]))
        return match["begin"] + "\n".join(["", *lines, "", ""]) + match["end"]

    return _TABLE.sub(_network_table, _QUALITY.sub(scores, _MARKED.sub(table, text)))


def _network_table(match: re.Match[str]) -> str:
    record = ByteRecord(BYTES)
    if match["name"] == "networks":
        device, size = _SHOWN
        newest = _newest(RESULTS / device, size)
        cases = {model: case for model, (_, case) in newest.items()}
        rows = network_rows(WEIGHTS, cases, record)
    elif match["name"] in _BYTE_TABLES:
        rows = _BYTE_TABLES[match["name"]](record)
    else:
        raise BenchmarkError(f"there is no table {match['name']}")
    return (
        match["begin"] + "\n".join(["", *markdown_table(rows), "", ""]) + match["end"]
    )


_BYTE_TABLES = {"bytes": byte_rows, "frame-rates": frame_rate_rows}


def pages() -> list[Path]:
    """README.md and every page of the documents, but for the cards."""
    return [
        _ROOT / "README.md",
        *(page for page in sorted(DOCS.rglob("*.md")) if page.parent != CARDS),
    ]


def documents() -> dict[Path, str]:
    """Every document as the records want it."""
    made = {page: fill_tables(page.read_text(encoding="utf-8")) for page in pages()}
    readme = _ROOT / "README.md"  # links of the documents, from a folder above them
    made[readme] = made[readme].replace("](models/", "](docs/models/")
    cards = write_cards(WEIGHTS, DOCS / "real")
    return made | {CARDS / f"{name}.md": text for name, text in cards.items()}


def _newest(folder: Path, size: str) -> dict[str, tuple[Record, Case]]:
    """The newest case of each network at `size` in the records of `folder`."""
    records = [read_record(path) for path in sorted(folder.glob("*.json"))]
    found = {}
    for record in sorted(records, key=lambda record: record.created):
        for case in record.cases:
            if case.size == size:
                found[case.model] = record, case
    return found


def _overview(cases: Sequence[Case]) -> list[list[str]]:
    return [list(_OVERVIEW), *(_line(case) for case in cases)]


def _line(case: Case) -> list[str]:
    eager = next((row for row in case.rows if row.key == "eager"), None)
    torch = [r for r in case.rows if r.key.startswith("eager") or r.key == "compile"]
    plain = [r for r in case.rows if r.key.startswith("plain-onnx")]
    ours = [r for r in case.rows if r.key.startswith(_OURS)]
    best = _fastest(ours)
    cell = _median(best)
    if best is not None and best.error is None and best.speed_up is not None:
        speed = best.speed_up
        cell += (
            f", {speed.ratio:.1f} x eager [{speed.low:.1f}-{speed.high:.1f}] "
            f"(`{best.key}`)"
        )
    return [
        f"`{case.model}`",
        _median(eager),
        _median(_fastest(torch)),
        _median(_fastest(plain)),
        cell,
    ]


def _int8(cases: Sequence[Case]) -> list[list[str]]:
    return [list(_INT8), *(_int8_line(case) for case in cases)]


def _int8_line(case: Case) -> list[str]:
    def fastest(beginning: str, backend: str = "") -> CandidateResult | None:
        rows = [x for x in case.rows if x.key.startswith(beginning)]
        return _fastest([x for x in rows if x.key.endswith(backend)])

    best = fastest("bundle-fp32")
    cells = [f"`{case.model}`"]
    for backend in ("/onnxruntime", "/openvino"):
        cells.append(_median(fastest("bundle-fp32", backend)))
        cells.append(_int8_cell(best, fastest("bundle-int8", backend)))
    return cells


def _int8_cell(fp32: CandidateResult | None, int8: CandidateResult | None) -> str:
    cell = _median(int8)
    if fp32 is None or int8 is None or not (fp32.rounds_ms and int8.rounds_ms):
        return cell
    speed = speed_up(int8.rounds_ms, fp32.rounds_ms)
    cell += f", {speed.ratio:.2f} x FP32 [{speed.low:.2f}-{speed.high:.2f}]"
    if int8.quality is not None and int8.quality.psnr_db is not None:
        cell += f", {int8.quality.psnr_db:.1f} dB"
    return cell


# What stands in a marker in the place of a network.
_OVERVIEWS = {"all": _overview, "int8": _int8}


def _fastest(rows: Sequence[CandidateResult]) -> CandidateResult | None:
    """None without rows; one that failed where all have."""
    measured = [row for row in rows if row.latency is not None and row.error is None]
    return min(measured, key=_median_ms, default=rows[0] if rows else None)


def _median_ms(row: CandidateResult) -> float:
    assert row.latency is not None
    return row.latency.median_ms


def _median(row: CandidateResult | None) -> str:
    if row is None:
        return "-"
    if row.latency is None or row.error is not None:
        return "failed"
    return f"{milliseconds(row.latency.median_ms)} ms"


@click.command(cls=Command)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, metavar="[FILE]...")
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, show_default=False
)
@click.option(
    "--check", is_flag=True, help="Change nothing; status 1 where it differs."
)
def main(files: tuple[Path, ...], results: Path, check: bool) -> None:
    """Make the tables of FILE anew from the committed records; without, all of them."""
    if files:
        read = {file: file.read_text(encoding="utf-8") for file in files}
        wanted = {file: fill_tables(text, results) for file, text in read.items()}
    else:
        wanted = documents()
    old = {file for file in wanted if not _agrees(file, wanted[file])}
    if old and check:
        raise BenchmarkError(
            f"{', '.join(map(str, sorted(old)))}: the tables differ from the records; "
            "run: python -m derain.benchmarks.report.readme"
        )
    for file in sorted(old):
        write_text(file, wanted[file])
        click.echo(f"{file}: tables made anew")
    if not old:
        click.echo(f"{len(wanted)} documents: the tables agree with the records")


def _agrees(file: Path, wanted: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") == wanted


if __name__ == "__main__":
    main()
