"""Read the checkpoints people publish into the networks defined here.

A checkpoint never runs code: PyTorch files are opened with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from derain.core.errors import CheckpointError
from derain.core.reading import read_bytes
from derain.models.archive_limits import MOST_BYTES, archive_flaw

# Under what training scripts store the state dict, the preferred copy first: where the
# weights were averaged, people report the average.
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
_PREFIXES = 8  # in front of every name, left there by wrappers around the network
# BatchNorm counts its batches; nothing at inference depends on it.
_COUNTERS = "num_batches_tracked"
_NESTED = 4  # mappings inside mappings; a file could nest one in itself
_SHOWN = 4
_WANTED = "wanted safetensors, or a state dict saved by torch.save"


def load_checkpoint(model: nn.Module, path: Path) -> str:
    """Load the weights in `path` into `model`, every tensor or none.

    Args:
        model: The network; its tensors keep their dtype, and batch counters their
            value.
        path: safetensors, or a file that ``torch.save`` wrote; which, its first bytes
            tell.

    Returns:
        SHA-256 of the file.

    Raises:
        CheckpointError: The file cannot be read safely, or a tensor is missing, left
            over, of another shape or kind, or not finite; the message names them.
    """
    content = _content(path)
    own = model.state_dict()
    state = canonical(_read(path, content), own)
    if not state:
        raise CheckpointError(f"{path} holds no tensors; {_WANTED}")
    _require_fit(path, type(model).__name__, state, own)
    _require_finite(path, state)
    own.update(state)  # in place: it carries the versions of its modules along
    model.load_state_dict(own)
    return hashlib.sha256(content).hexdigest()


def read_checkpoint(path: Path) -> Mapping[Any, object]:
    """What a checkpoint holds: tensors, or mappings of them at any place.

    Raises:
        CheckpointError: The file cannot be read safely.
    """
    return _read(path, _content(path))


def _content(path: Path) -> bytes:
    """The bytes of a checkpoint.

    Raises:
        CheckpointError: They cannot be read, or there are more than a checkpoint has.
    """
    try:
        return read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); {_WANTED}"
        ) from error


def canonical(
    state: Mapping[Any, object], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Unwrap a training checkpoint down to the names of a network.

    Args:
        state: What a checkpoint file holds: tensors, or mappings of them at any place.
        own: The network's state dict. Wrappers are opened, and prefixes that all names
            share stripped, as it takes for most names to fit.

    Returns:
        The tensors of the mapping that fits best, batch counters left out.
    """

    def score(names: dict[str, Tensor]) -> tuple[int, int]:
        fitting = len(names.keys() & own.keys())
        # Where nothing fits, the largest is the one to complain about.
        return fitting, -len(names) if fitting else len(names)

    candidates = (
        names
        for mapping in _mappings(state, _NESTED)
        for names in _stripped(_tensors(mapping))
    )
    return max(candidates, key=score)


def _mappings(
    state: Mapping[Any, object], depth: int
) -> Iterator[Mapping[Any, object]]:
    """The mappings inside `state`, well-known names first, then `state` itself."""
    known = [wrapper for wrapper in _WRAPPERS if wrapper in state]
    for name in [*known, *(name for name in state if name not in known)]:
        inner = state[name]
        if depth and isinstance(inner, Mapping):
            yield from _mappings(inner, depth - 1)
    yield state


def _tensors(mapping: Mapping[Any, object]) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in mapping.items()
        if isinstance(name, str)
        and isinstance(value, Tensor)
        and not name.endswith(_COUNTERS)
    }


def _stripped(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """`tensors`, and again with what all names share in front of a dot taken off."""
    yield tensors
    for _ in range(_PREFIXES):
        prefix, dot, _ = next(iter(tensors), "").partition(".")
        if not dot or not all(name.startswith(prefix + dot) for name in tensors):
            return
        tensors = {name.removeprefix(prefix + dot): x for name, x in tensors.items()}
        yield tensors


def _read(path: Path, content: bytes) -> Mapping[Any, object]:
    if not content:
        raise CheckpointError(f"{path} is empty; {_WANTED}")
    try:
        if _is_safetensors(content):
            return load_safetensors(content)
        if flaw := archive_flaw(content):
            raise CheckpointError(f"{path} {flaw}; {_WANTED}")
        with warnings.catch_warnings():
            # About old protocols and TorchScript; what matters is raised as well.
            warnings.simplefilter("ignore")
            state = torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
    except CheckpointError:
        raise
    # A damaged file makes the unpickler fail with whatever breaks first: it raises
    # IndexError, KeyError, AssertionError, struct.error and others of its own.
    except Exception as error:
        raise CheckpointError(f"{path} {_reason(error)}") from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}; {_WANTED}")
    return state


def _reason(error: Exception) -> str:
    text = str(error)
    advice = "save the tensors alone: torch.save(model.state_dict(), FILE)"
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return f"holds {found[1]}, and loading that could run code; {advice}"
    if "TorchScript" in text:
        return f"is a TorchScript archive; {advice}"
    return f"is damaged or no checkpoint; {_WANTED}"


def _is_safetensors(content: bytes) -> bool:
    """Whether a file starts as safetensors do: a length of 8 bytes, then JSON."""
    return content[8:9] == b"{"


def _require_fit(
    path: Path, model: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    wanted = {name for name in own if not name.endswith(_COUNTERS)}
    problems = {
        "missing": sorted(wanted - state.keys()),
        "unexpected": [
            name if name.isprintable() else ascii(name)  # a file may hold any
            for name in sorted(state.keys() - own.keys())
        ],
        "of another shape": [
            f"{name} (got {tuple(state[name].shape)}, wanted {tuple(own[name].shape)})"
            for name in sorted(wanted & state.keys())
            if state[name].shape != own[name].shape
        ],
        "of another kind": [
            f"{name} (got {_kind(state[name])}, wanted {_kind(own[name])})"
            for name in sorted(wanted & state.keys())
            if state[name].is_floating_point() != own[name].is_floating_point()
            or not _is_dense(state[name])
        ],
    }
    parts = [f"{what}: {_list(names)}" for what, names in problems.items() if names]
    if parts:
        raise CheckpointError(f"{path} does not fit {model}; {'; '.join(parts)}")


def _require_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    bad = [name for name, x in sorted(state.items()) if not _is_finite(x)]
    if bad:
        raise CheckpointError(
            f"{path} holds NaN or infinity in {_list(bad)}: its training failed"
        )


def _is_finite(x: Tensor) -> bool:
    if not x.is_floating_point():
        return True
    # FP8 has no test of its own.
    return bool(torch.isfinite(x if x.element_size() > 1 else x.half()).all())


def _is_dense(x: Tensor) -> bool:
    """Whether it has values to copy: a sparse or a meta tensor fails half-way."""
    return x.layout == torch.strided and not x.is_meta


def _kind(x: Tensor) -> str:
    if x.is_meta:
        return "a meta tensor without values"
    return str(x.dtype if x.layout == torch.strided else x.layout)


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
