"""A wide Rivulet that begins where a narrow one has come to.

    python -m derain.training.widen WEIGHTS

WEIGHTS is the folder of published weights, `models/weights`: of ``rivulet-s`` and its
record there become ``rivulet`` and its record, as a run of no steps, which ``derain-
train --model rivulet --weights`` goes on from.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click
import torch
from safetensors.torch import save
from torch import Tensor

from derain.core.commands import Command
from derain.core.errors import CheckpointError
from derain.models.checkpoint import load_checkpoint
from derain.models.networks.rivulet import Rivulet, RivuletS
from derain.training.publish import run_of
from derain.training.run_folder import write_file

SMALL, LARGE = "rivulet-s", "rivulet"


@torch.no_grad()
def widen(small: Rivulet, large: Rivulet) -> None:
    """Give `large`, newly made, the weights of `small`: it computes the same.

    Its other channels keep their first weights, and nothing of `small` looks at them
    yet.
    """
    if small.blocks != large.blocks or small.channels > large.channels:
        raise ValueError("the large network must have as many blocks, and be as wide")
    known = small.state_dict()
    for name, tensor in large.state_dict().items():
        tensor.copy_(_widened(known[name], tensor))


def _widened(known: Tensor, new: Tensor) -> Tensor:
    """`new` with `known` in its corner, whose outputs see none of the other inputs."""
    out = new.clone()
    rows = known.shape[0]
    out[:rows] = 0.0
    out[tuple(slice(length) for length in known.shape)] = known
    return out


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, type=click.IntRange(0), help="Of the new channels.")
def main(folder: Path, seed: int) -> None:
    """Make rivulet's weights in FOLDER of rivulet-s's."""
    weights, record = folder / f"{SMALL}.safetensors", folder / f"{SMALL}.json"
    target = folder / f"{LARGE}.safetensors"
    if target.exists() or target.with_suffix(".json").exists():
        raise CheckpointError(f"{target} is there already; move it away first")
    torch.manual_seed(seed)
    small, large = RivuletS(), Rivulet()
    load_checkpoint(small, weights)
    widen(small, large)
    content = save({name: x.contiguous() for name, x in large.state_dict().items()})
    known = json.loads(record.read_text(encoding="utf-8"))
    widened = {
        **known,
        "model": LARGE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(x.numel() for x in large.parameters()),
        "storage": "float32",
        "steps": 0,
        "hours": 0.0,
        "command": f"python -m derain.training.widen WEIGHTS --seed {seed}",
        "config": {
            **known["config"],
            "model": LARGE,
            "first_weights": known["sha256"],
            "seed": seed,
        },
        "notes": [f"{SMALL} with more channels: it computes the same"],
        "earlier_runs": [*known["earlier_runs"], run_of(known)],
    }
    write_file(target, content)
    text = json.dumps(widened, indent=2) + "\n"
    write_file(target.with_suffix(".json"), text.encode())
    click.echo(target)


if __name__ == "__main__":
    main()
