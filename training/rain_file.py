"""The mixture of rain that a run had, as a file for ``--rain``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from derain.core.errors import CheckpointError
from derain.training.run_folder import CONFIG


def rain_of(source: Path) -> str:
    """What the rain of a run was drawn from, as TOML.

    Args:
        source: Folder of the run, or the record of its weights.

    Raises:
        CheckpointError: It is neither, or of an older version, which kept no mixture.
    """
    path = source / CONFIG if source.is_dir() else source
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rain = content.get("config", content)["rain"]
        if not isinstance(rain, dict):
            raise TypeError("its rain is no mixture")
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(
            f"{source} is no run, nor a record of weights, that says its rain: {error}"
        ) from error
    return as_toml(rain)


def as_toml(mixture: Mapping[str, Any]) -> str:
    """The content of a mixture's file as such a file."""
    lines: list[str] = []
    for name, value in mixture.items():
        tables = value if isinstance(value, list) else [value]
        title = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
        for table in tables:
            lines += [title, *(f"{key} = {_value(x)}" for key, x in table.items()), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    inside = ", ".join(f"{key} = {json.dumps(x)}" for key, x in value.items())
    return f"{{ {inside} }}"
