"""A run becomes weights to give away: ``derain-train publish``.

Writes ``<model>.safetensors`` and the record ``<model>.json`` beside it: how the
weights were made and what they score on pictures that were not trained on. What the
record says is described in ``models/weights/README.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from derain.core.errors import CheckpointError
from derain.models.registry import MODELS
from derain.models.video_network import has_states
from derain.training.figures import measure, measure_memory
from derain.training.recipes import departures
from derain.training.run_folder import (
    ORIGIN,
    making,
    new_network,
    read_config,
    read_state,
    write_file,
)

SCHEMA = 1  # of the record
WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights"
HALF_TOLERANCE_DB = 0.01  # float16 storage may change a mean PSNR by this much ...
COMPARE_EVERY = 8  # ... over every eighth picture


def publish(
    run: Path,
    *,
    test: Path,
    video: Path,
    trained_on: Sequence[str],
    notes: Sequence[str] = (),
    output: Path = WEIGHTS,
    threads: int | None = None,
    every: int = 1,
) -> dict[str, Any]:
    """Write the weights of a run, and the record of how they were made.

    Args:
        run: Its folder.
        test: Folder of test pairs; its clean pictures are the dry ones too.
        video: Folder of the frames of a clip, in pairs.
        trained_on: The data sets of the run, in words.
        notes: What the record should say besides.
        output: Folder of the weights.
        threads: Processor threads; None takes the run's.
        every: Measure on every so many of the pictures only, and say so.

    Returns:
        The record.

    Raises:
        DerainError: The run or the pictures cannot be read, or `output` not written.
    """
    config, state = read_config(run), read_state(run)
    with making(output):  # now: to measure takes minutes
        weights = output / f"{config.model.rpartition(':')[2]}.safetensors"
        replaced = _replaced(weights)
        torch.set_num_threads(threads or config.threads)
        network, facts = new_network(config.model)
        network.eval()
        if config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def figures(
            tensors: dict[str, torch.Tensor], every: int, *, dry: bool
        ) -> dict[str, Any]:
            network.load_state_dict(tensors)
            measured = measure_memory if has_states(network) else measure
            return measured(network, facts, test, video, every, with_dry=dry)

        full: dict[str, torch.Tensor] = state["average"]
        half = {k: x.half() if x.is_floating_point() else x for k, x in full.items()}
        exact, rounded = (
            figures(tensors, every * COMPARE_EVERY, dry=False)
            for tensors in (full, half)
        )
        differences = [
            abs(exact[name]["psnr_db"] - rounded[name]["psnr_db"]) for name in exact
        ]
        keep_half = max(differences) <= HALF_TOLERANCE_DB
        stored = half if keep_half else full
        content = save({name: x.contiguous() for name, x in stored.items()})
        origin = run / ORIGIN
        record = {
            "schema": SCHEMA,
            "model": config.model,
            "paper": MODELS[config.model].paper if config.model in MODELS else "",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "parameters": sum(x.numel() for x in network.parameters()),
            "storage": "float16" if keep_half else "float32",
            "figures": figures(stored, every, dry=True),
            "trained_on": list(trained_on),
            "rain": RAIN if config.rain else "that of the renderer at the commit",
            "steps": state["step"],
            "hours": round(state["seconds"] / 3600, 3),
            "command": config.command(),
            "config": config.to_json(),
            "departures": departures(config),
            "origin": json.loads(origin.read_text(encoding="utf-8")),
            "notes": list(notes),
            "earlier_runs": earlier_runs(config.first_weights, replaced),
        }
        write_file(weights, content)
        text = json.dumps(record, indent=2) + "\n"
        write_file(weights.with_suffix(".json"), text.encode())
    return record


def _replaced(weights: Path) -> dict[str, Any] | None:
    """The record of the `weights` that are replaced, if there are any.

    Raises:
        CheckpointError: What would be replaced is not ours.
    """
    path = weights.with_suffix(".json")
    if not path.exists() and not weights.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] == SCHEMA and record.keys() >= {*_OF_A_RUN, "earlier_runs"}:
            return record
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise CheckpointError(
        f"{weights} or {path.name} beside it is not what derain-train publish wrote; "
        "choose another --output"
    )


def earlier_runs(
    first_weights: str, replaced: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """The runs that a run went on from, the first one first.

    Args:
        first_weights: Hash of the weights that it started from; empty for new ones.
        replaced: Record of the weights that it replaces. If it started from others,
            their run is not known here.
    """
    if not first_weights or replaced is None:
        return []
    if replaced["config"]["first_weights"] == first_weights:  # of the same run, before
        earlier: list[dict[str, Any]] = replaced["earlier_runs"]
        return earlier
    if replaced["sha256"] != first_weights:
        return []
    return [*replaced["earlier_runs"], run_of(replaced)]


def run_of(record: dict[str, Any]) -> dict[str, Any]:
    """What of a record is said of an earlier run."""
    return {name: record[name] for name in _OF_A_RUN}


_OF_A_RUN = ("sha256", "rain", "steps", "hours", "command", "config", "origin", "notes")

RAIN = "drawn from the mixture in config; derain-train rain prints it as a file"
