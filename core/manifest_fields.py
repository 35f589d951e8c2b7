"""What ``manifest.json`` may say, field by field: kinds, ranges, text for a terminal.

A bundle comes from elsewhere. What it says is checked here, once, so that everything
behind can trust it, and is shown as it stands: without control characters.
"""

from __future__ import annotations

from typing import Any

from derain.core.batch_file import MOST_BATCH
from derain.core.numbers import in_range, number, shortened, whole
from derain.core.reported import printable

_NEEDED = ("schema", "model", "precision", "target", "sizes", "golden", "files")
_TEXTS = ("model", "precision", "target", "created")
_OBJECTS = (
    *("sizes", "golden", "files", "weights", "network", "operators", "passes"),
    *("verification", "tools"),
)
_LISTS = ("fp32_nodes", "engines", "states")
_MOST_DB = 200  # 8 bits end at 99 dB: derain.core.metrics
_MOST_PIXELS = 4096  # of a multiple or a minimum of height and width
_MOST_LOOK_AHEAD = 1000  # frames


def checked(fields: Any) -> dict[str, Any]:
    """`fields` of a manifest, of the kinds and in the ranges that they must have.

    Raises:
        KeyError: One is missing.
        ValueError: One is of another kind, or out of its range.
    """
    _require(fields, dict, "it")
    if missing := [name for name in _NEEDED if name not in fields]:
        raise KeyError(missing[0])
    for names, kind in ((_TEXTS, str), (_OBJECTS, dict), (_LISTS, list)):
        for name in names:
            if name in fields:
                _require(fields[name], kind, name)
    for name, value in fields["sizes"].items():
        _require(value, str, f"sizes.{name}")
    golden = fields["golden"]
    for name in ("inputs", "outputs"):
        if name in golden:
            _require(golden[name], list, f"golden.{name}")
    if "min_psnr_db" in golden:
        _in_range(golden, "golden.min_psnr_db", number, 0, _MOST_DB)
    for name in ("multiple_of", "minimum"):
        if name in fields.get("network", {}):
            _in_range(fields["network"], f"network.{name}", whole, 1, _MOST_PIXELS)
    if "look_ahead" in fields:
        _in_range(fields, "look_ahead", whole, 0, _MOST_LOOK_AHEAD)
    if "batch" in fields:
        _in_range(fields, "batch", whole, 1, MOST_BATCH)
    for value in fields.get("states", ()):
        _require(value, dict, "a state")
    # Files are called what they are called.
    kept = ("files", "golden")
    try:
        return {k: v if k in kept else _shown(v) for k, v in fields.items()}
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _require(value: object, kind: type[Any], name: str) -> None:
    if not isinstance(value, kind):
        wanted = {"str": "text", "dict": "an object", "list": "a list"}[kind.__name__]
        raise ValueError(f"{name} is {shortened(value)}, wanted {wanted}")


def _in_range(
    table: dict[str, Any], name: str, read: Any, least: int, most: int
) -> None:
    value = table[name.rpartition(".")[2]]
    try:
        in_range(read(value), least, most)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {printable(k): _shown(each) for k, each in value.items()}
    return value
