"""PSNR and SSIM of the shipped weights, from the committed answers of ``derain-eval``.

``benchmarks/results/quality/DATASET/MODEL.json`` is what ``derain-eval --json`` printed
for
PyTorch and for bundles of the same network; ``MODEL-*.json`` beside it is what it
printed for more bundles on the same pictures.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from derain.core.errors import BenchmarkError

_PRECISIONS = re.compile("fp32|fp16|int8")
_ORDER = ("PyTorch", "FP32 bundle", "FP16 bundle", "INT8 bundle")


def quality_rows(folder: Path) -> list[list[str]]:
    """A table with a line for each network and a column for each precision.

    Args:
        folder: Of one data set.

    Returns:
        The head, then the lines; a cell is PSNR on Y in dB and SSIM.

    Raises:
        BenchmarkError: Nothing is there, or a file is not of ``derain-eval``.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BenchmarkError(f"no answer of derain-eval --json in {folder}")
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    for file in files:
        row = answers.setdefault(file.stem.partition("-")[0], {})
        row |= _read(file)
        _require_same_pictures(row, file)
    names = {name for row in answers.values() for name in row}
    columns = [name for name in _ORDER if name in names]
    rows = [["network", "pictures", "rainy", *columns]]
    for model, row in answers.items():
        first = next(iter(row.values()))
        cells = [_cell(row.get(name)) for name in columns]
        head = [f"`{model}`", str(first["pictures"]), _cell(first["rainy"])]
        rows.append([*head, *cells])
    return rows


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """The figures by "PyTorch" and by precision of the bundle."""
    try:
        answer = json.loads(file.read_text(encoding="utf-8"))
        found = {_column(name): dict(figures) for name, figures in answer.items()}
        for name, figures in found.items():
            _ORDER.index(name), _cell(figures), _cell(figures["rainy"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(
            f"{file} is not what derain-eval --json printed: {error!r}"
        ) from error
    return found


def _require_same_pictures(row: dict[str, dict[str, Any]], file: Path) -> None:
    seen = {(figures["pictures"], _cell(figures["rainy"])) for figures in row.values()}
    if len(seen) != 1:
        raise BenchmarkError(f"{file} has figures of different pictures")


def _column(name: str) -> str:
    match = _PRECISIONS.search(name)
    return f"{match[0].upper()} bundle" if match else name.rpartition(", ")[2]


def _cell(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "-"
    return f"{figures['psnr_db']:.2f} / {figures['ssim']:.4f}"
