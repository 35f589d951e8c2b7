"""Read the checkpoints people publish into the networks defined here.

A checkpoint never runs code: PyTorch files are opened with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from derain.runtime.errors import CheckpointError

# Under what training scripts store the state dict; an averaged copy is the better one.
_WRAPPERS = (
    "params_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "params",
    "net",
    "model",
    "network",
    "generator",
    "weights",
)
# What wrappers around the network leave in front of every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "generator.")
# BatchNorm counts its batches; nothing at inference depends on it.
_COUNTERS = "num_batches_tracked"
_SHOWN = 4


def load_checkpoint(model: nn.Module, path: Path) -> str:
    """Load the weights in `path` into `model`, every tensor or none.

    Args:
        model: The network; its tensors keep their dtype.
        path: safetensors, or a file that ``torch.save`` wrote.

    Returns:
        SHA-256 of the file.

    Raises:
        CheckpointError: The file cannot be read safely, or a tensor is missing, left
            over or of another shape; the message names them.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    own = model.state_dict()
    state = canonical(_read(path, content), own)
    _require_fit(path, type(model).__name__, state, own)
    model.load_state_dict({**own, **state})
    return hashlib.sha256(content).hexdigest()


def canonical(
    state: Mapping[str, object], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Unwrap a training checkpoint down to the names of a network.

    Args:
        state: What a checkpoint file holds.
        own: The network's state dict; prefixes are stripped only where that makes more
            names fit.
    """
    best: dict[str, Tensor] = {}
    most = -1
    for mapping in _mappings(state):
        tensors = {
            name: value
            for name, value in mapping.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        for names in _stripped(tensors):
            fitting = len(names.keys() & own.keys())
            if fitting > most or (fitting == most and len(names) > len(best)):
                best, most = names, fitting
    return {name: x for name, x in best.items() if not name.endswith(_COUNTERS)}


def _mappings(state: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """`state`, and what well-known names inside it hold, the better copies first."""
    for wrapper in _WRAPPERS:
        inner = state.get(wrapper)
        if isinstance(inner, Mapping):
            yield from _mappings(inner)
    yield state


def _stripped(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """`tensors`, and again with each prefix that all names share taken off."""
    yield tensors
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            yield from _stripped(
                {name.removeprefix(prefix): x for name, x in tensors.items()}
            )


def _read(path: Path, content: bytes) -> Mapping[str, object]:
    advice = "wanted safetensors or a state dict saved by torch.save"
    if not content:
        raise CheckpointError(f"{path} is empty; {advice}")
    try:
        if _is_safetensors(content):
            return load_safetensors(content)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = (
            "holds Python objects that could run code"
            if "Unsupported" in str(error) or "GLOBAL" in str(error)
            else "is not a checkpoint"
        )
        raise CheckpointError(f"{path} {reason}; {advice}") from error
    except (EOFError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is damaged or no checkpoint; {advice}"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}; {advice}")
    return state


def _is_safetensors(content: bytes) -> bool:
    """Whether a file starts as safetensors do: a length of 8 bytes, then JSON."""
    return content[8:9] == b"{"


def _require_fit(
    path: Path, model: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    wanted = {name for name in own if not name.endswith(_COUNTERS)}
    problems = {
        "missing": sorted(wanted - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": [
            f"{name} (got {tuple(state[name].shape)}, wanted {tuple(own[name].shape)})"
            for name in sorted(wanted & state.keys())
            if state[name].shape != own[name].shape
        ],
    }
    parts = [f"{what}: {_list(names)}" for what, names in problems.items() if names]
    if parts:
        raise CheckpointError(f"{path} does not fit {model}; {'; '.join(parts)}")


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
