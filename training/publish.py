"""``python -m derain.training.publish``: a run becomes the package's weights.

Writes ``<model>.safetensors`` and the record ``<model>.json`` beside it: how the
weights were made and what they score on pictures that were not trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.core.commands import Command

if TYPE_CHECKING:
    from derain.training.data import Pair

SCHEMA = 1  # of the record
WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights"
HALF_TOLERANCE_DB = 0.01  # float16 storage may change a mean PSNR by this much ...
COMPARE_EVERY = 8  # ... over every eighth picture
VIDEO_EVERY = 4  # frames of a clip are much alike
DRY_EVERY = 4


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--test",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of test pairs; its clean pictures are the dry ones too.",
)
@click.option(
    "--video", required=True, type=click.Path(path_type=Path), help="Frames in pairs."
)
@click.option(
    "--trained-on",
    multiple=True,
    required=True,
    help="A data set of the run, in words; once for each.",
)
@click.option("--note", multiple=True, help="What the record should say besides.")
@click.option(
    "--every",
    type=click.IntRange(1),
    default=1,
    help="Measure on every so many of the pictures only, and say so.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Processor threads; the run's by default."
)
@click.option(
    "-o",
    "--output",
    default=WEIGHTS,
    type=click.Path(path_type=Path),
    help="Folder of the weights.",
)
def main(
    run: Path,
    test: Path,
    video: Path,
    trained_on: tuple[str, ...],
    note: tuple[str, ...],
    every: int,
    threads: int | None,
    output: Path,
) -> None:
    """Measure the run in the folder RUN and write its weights and their record."""
    from derain.models.allocator import keep_memory

    keep_memory()
    record = ship(
        run,
        test=test,
        video=video,
        trained_on=list(trained_on),
        notes=list(note),
        output=output,
        threads=threads,
        every=every,
    )
    click.echo(json.dumps(record["figures"], indent=2))


def ship(
    run: Path,
    *,
    test: Path,
    video: Path,
    trained_on: list[str],
    notes: list[str],
    output: Path,
    threads: int | None = None,
    every: int = 1,
) -> dict[str, Any]:
    """Write the weights of `run` and their record to `output`; returns the record.

    Raises:
        DerainError: The run or the pictures cannot be read, or `output` not written.
    """
    import torch
    from safetensors.torch import save

    from derain.models.registry import MODELS, create_model
    from derain.training.run_folder import (
        ORIGIN,
        make_folder,
        read_config,
        read_state,
        write_file,
    )

    config, state = read_config(run), read_state(run)
    make_folder(output)  # now: to measure takes minutes
    torch.set_num_threads(threads or config.threads)
    network = create_model(config.model).eval()
    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    facts = MODELS[config.model].facts

    def figures(
        tensors: dict[str, torch.Tensor], every: int, *, dry: bool
    ) -> dict[str, Any]:
        network.load_state_dict(tensors)
        return measure(network, facts, test, video, every, with_dry=dry)

    full: dict[str, torch.Tensor] = state["average"]
    half = {k: x.half() if x.is_floating_point() else x for k, x in full.items()}
    exact, rounded = (
        figures(tensors, every * COMPARE_EVERY, dry=False) for tensors in (full, half)
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
        "paper": MODELS[config.model].paper,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(x.numel() for x in network.parameters()),
        "storage": "float16" if keep_half else "float32",
        "figures": figures(stored, every, dry=True),
        "trained_on": trained_on,
        "rain": RAIN,
        "steps": state["step"],
        "hours": round(state["seconds"] / 3600, 3),
        "command": config.command(),
        "config": config.to_json(),
        "departures": config.departures(),
        "origin": json.loads(origin.read_text(encoding="utf-8")),
        "notes": notes,
        "earlier_runs": earlier_runs(
            config.first_weights, output / f"{config.model}.json"
        ),
    }
    write_file(output / f"{config.model}.safetensors", content)
    text = json.dumps(record, indent=2) + "\n"
    write_file(output / f"{config.model}.json", text.encode())
    return record


def earlier_runs(first_weights: str, replaced: Path) -> list[dict[str, Any]]:
    """The runs that a run went on from, the first one first.

    Args:
        first_weights: Hash of the weights that it started from; empty for new ones.
        replaced: Record of the weights that it replaces. If it started from others,
            their run is not known here.
    """
    if not first_weights or not replaced.is_file():
        return []
    record = json.loads(replaced.read_text(encoding="utf-8"))
    if record["sha256"] != first_weights:
        return []
    run = {name: record[name] for name in _OF_A_RUN}
    return [*record["earlier_runs"], run]


_OF_A_RUN = ("sha256", "rain", "steps", "hours", "command", "config", "origin", "notes")

# What `data.random_rain` draws, in words.
RAIN = (
    "rendered on crops turned by 0, 90, 180 or 270 degrees: direction normal, 14 "
    "degrees, at most 50; length 8 to 140 px, width 0.8 to 5 px and density 4 to 160 "
    "per 10,000 px, log-uniform; 1 to 4 layers; brightness 0.25 to 0.9; veil 0 or up "
    "to 0.12"
)


def measure(
    network: Any,
    facts: Any,
    test: Path,
    video: Path,
    every: int = 1,
    *,
    with_dry: bool = True,
) -> dict[str, Any]:
    """The figures of a record, over every so many of the pictures, as their names say.

    Without those of dry pictures if not `with_dry`.
    """
    from itertools import islice

    from derain.training.data import dry, open_pairs
    from derain.training.validation import (
        derain_with,
        dry_summary,
        in_strips,
        score_pairs,
        summary,
    )

    derain = in_strips(derain_with(network, facts))

    def some(folder: Path, step: int = 1) -> Iterator[Pair]:
        return islice(open_pairs(folder), 0, None, every * step)

    pairs = {
        "pairs/test" + (f", every {every}th picture" if every > 1 else ""): summary(
            score_pairs(derain, some(test))
        ),
        f"video/a1, every {VIDEO_EVERY * every}th frame": summary(
            score_pairs(derain, some(video, VIDEO_EVERY))
        ),
    }
    if not with_dry:
        return pairs
    return pairs | {
        "metric": "PSNR and SSIM on Y, as derain.core.metrics says",
        f"dry pairs/test, every {DRY_EVERY * every}th picture": dry_summary(
            score_pairs(derain, dry(some(test, DRY_EVERY)))
        ),
    }


if __name__ == "__main__":
    main()
