"""The folder of a run: what is in it, read and written.

config.json   the settings
origin.json   where and from which commit it started
state.pt      network, moving average, optimiser, steps, seconds, random state
log.jsonl     one JSON object a line: losses, and validations
curves.png    the log, drawn
sample.png    rainy, derained and clean crops of the validation pictures
weights.safetensors   of a finished run with quantisation in its loop: the average
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from derain.core.atomic_files import remove_leftovers, write_bytes
from derain.core.errors import CheckpointError, MediaError
from derain.core.reading import read_bytes, read_json
from derain.models.archive_limits import MOST_BYTES, archive_flaw
from derain.models.loading import open_network
from derain.models.registry import MODELS, NetworkFacts, create_model
from derain.training.config import TrainingConfig
from derain.training.provenance import origin

STATE, CONFIG, LOG = "state.pt", "config.json", "log.jsonl"
ORIGIN = "origin.json"
CURVES, SAMPLE = "curves.png", "sample.png"
WEIGHTS = "weights.safetensors"
_FILES = (STATE, CONFIG, LOG, ORIGIN, CURVES, SAMPLE, WEIGHTS)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, if they are not there.

    Raises:
        MediaError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(
            f"{folder} cannot be made: {error.strerror}; choose another --output"
        ) from error


@contextlib.contextmanager
def making(folder: Path) -> Iterator[None]:
    """As `make_folder`; what it made goes if the block fails with nothing written.

    Raises:
        MediaError: It cannot be made.
    """
    new = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        make_folder(folder)
        yield
    except BaseException:
        for each in new:
            with contextlib.suppress(OSError):  # one that holds something stays
                each.rmdir()
        raise


def claim(folder: Path) -> None:
    """Make `folder` for a run, or see that it holds a run and no one else's files.

    Other files beside a run may stay. What a run left that was killed while it wrote is
    removed.

    Raises:
        MediaError: It cannot be made, or read.
        CheckpointError: It holds files, but no run.
    """
    make_folder(folder)
    try:
        found = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise MediaError(f"{folder} cannot be read: {error.strerror}") from error
    for name in _FILES:
        remove_leftovers(folder / name)
    try:
        if CONFIG in found:
            read_config(folder)
            return
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} holds a {CONFIG} of something else; choose another --output"
        ) from error
    if any(not name.startswith(".") for name in found):
        raise CheckpointError(
            f"{folder} holds files, but no training run; choose another --output"
        )


def begin(folder: Path, config: TrainingConfig) -> None:
    """Write what a run has before its first step.

    Raises:
        MediaError: It cannot be written.
    """
    write_file(folder / CONFIG, _json(config.to_json()))
    write_file(folder / ORIGIN, _json(origin()))
    write_file(folder / LOG, b"")


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or not at all: what was there stays until then.

    Raises:
        MediaError: It cannot be written.
    """
    try:
        write_bytes(path, content)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def _cannot_be_written(path: Path, error: OSError) -> MediaError:
    return MediaError(
        f"{path} cannot be written: {error.strerror}; "
        "make room or choose another --output"
    )


def read_config(folder: Path) -> TrainingConfig:
    """The settings of the run in `folder`.

    Raises:
        CheckpointError: It holds no run.
    """
    path = folder / CONFIG
    try:
        return TrainingConfig.from_json(read_json(path))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder} holds no training run: {error}") from error


def read_state(folder: Path) -> dict[str, Any]:
    """What the last checkpoint of the run in `folder` holds.

    Raises:
        CheckpointError: There is none that can be read.
    """
    path = folder / STATE
    try:
        content = read_bytes(path, MOST_BYTES)
        if flaw := archive_flaw(content):
            raise CheckpointError(f"{path} {flaw}")
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it is missing or no checkpoint of a run"
        ) from error
    return state


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint of the run in `folder`, all of it or nothing.

    Raises:
        MediaError: It cannot be written.
    """
    # In memory first: where a disk is full, torch.save (2.13) raises a RuntimeError
    # about positions in its archive.
    content = io.BytesIO()
    torch.save(state, content)
    write_file(folder / STATE, content.getbuffer())


def new_network(model: str) -> tuple[nn.Module, NetworkFacts]:
    """A network to train, in training mode, and how to feed it.

    Args:
        model: A name in the registry, or ``package.module:Class``.

    Raises:
        UnknownNameError: No such model.
        NetworkError: The user's class cannot be imported or built.
    """
    if model in MODELS:
        return create_model(model), MODELS[model].facts
    own = open_network(model)
    return own.network.train(), own.facts


def load_average(model: str, folder: Path) -> nn.Module:
    """The network of the run in `folder` as it stands, in evaluation mode.

    Raises:
        CheckpointError: The folder holds no run, or one of another network.
    """
    config = read_config(folder)
    if config.model != model:
        raise CheckpointError(f"{folder} holds a run of {config.model}, not {model}")
    network = new_network(model)[0].eval()
    network.load_state_dict(read_state(folder)["average"])
    return network


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The log of the run in `folder`; a last line cut short by a kill is left out."""
    entries = []
    for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def append_to_log(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line to the log of the run in `folder`.

    Raises:
        MediaError: It cannot be written.
    """
    path = folder / LOG
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def cut_log(folder: Path, step: int) -> None:
    """Take what is later than `step` out of the log of the run in `folder`.

    Raises:
        MediaError: It cannot be written.
    """
    kept = [json.dumps(e) + "\n" for e in read_log(folder) if e["step"] <= step]
    write_file(folder / LOG, "".join(kept).encode())
