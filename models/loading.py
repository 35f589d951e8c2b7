"""The one way to get a network with its weights, whoever wrote it."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from derain.core.errors import (
    CheckpointError,
    NetworkError,
    UnknownNameError,
)
from derain.core.lazy import load
from derain.models.registry import MODELS, NetworkFacts, create_model

if TYPE_CHECKING:
    from torch import nn

_SEED = 0
_ZERO_STD = 0.01
_WANTED = "wanted package.module:Class, found from the current folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNetwork:
    """A network ready to be used.

    Attributes:
        name: Name in the registry, or ``package.module:Class``.
        network: In eval mode, float32, on the processor.
        facts: How to feed it.
        paper: Where it was published; empty for a network of the user's own.
        weights: ``source`` says where the weights came from, ``sha256`` is the hash of
            their file, or empty.
    """

    name: str
    network: nn.Module
    facts: NetworkFacts
    paper: str
    weights: dict[str, str]


def open_network(
    model: str,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    facts: NetworkFacts | None = None,
) -> LoadedNetwork:
    """Build a network and give it its weights.

    Args:
        model: A key of `derain.models.registry.MODELS`, or ``package.module:Class`` for
            any `nn.Module` that can be built without arguments; the current folder
            comes first in the search, and stays on ``sys.path``.
        weights: Checkpoint. None takes the weights that ship with the package, and
            leaves a network of the user's own as its constructor made it.
        random_weights: Untrained weights, always the same; no parameter is all zero,
            or a network whose last layer starts at zero would be the identity.
        facts: How to feed the network; None takes the registry's, or plain RGB.

    Raises:
        UnknownNameError: No such model.
        NetworkError: The user's class cannot be imported or built; what it raised
            is the cause.
        CheckpointError: The weights do not fit, or none ship, or `weights` and
            `random_weights` are both given.
        MissingDependencyError: PyTorch is not installed.
    """
    if weights is not None and random_weights:
        raise CheckpointError("both weights and random weights asked for; choose one")
    own = ":" in model
    if not own and model not in MODELS:
        raise UnknownNameError("model", model, [*MODELS, "package.module:Class"])
    network = _build(model, reproducibly=random_weights)
    if weights is not None:
        load_checkpoint = load(
            "derain.models.checkpoint", "load_checkpoint", extra="export"
        )
        source = {"source": weights.name, "sha256": load_checkpoint(network, weights)}
    elif random_weights:
        _fill_zeros(network)
        source = {"source": f"random, seed {_SEED}", "sha256": ""}
    elif own:
        source = {"source": "as constructed", "sha256": ""}
    else:
        source = _load_shipped(network, model)
    entry = MODELS.get(model)
    return LoadedNetwork(
        name=model,
        network=network.float().eval(),
        facts=facts or (entry.facts if entry else NetworkFacts()),
        paper=entry.paper if entry else "",
        weights=source,
    )


def _build(model: str, *, reproducibly: bool) -> nn.Module:
    fork_rng = load("torch", "random", extra="export").fork_rng
    manual_seed = load("torch", "manual_seed", extra="export")
    with fork_rng(enabled=reproducibly):
        if reproducibly:
            manual_seed(_SEED)
        return _build_own(model) if ":" in model else create_model(model)


def _build_own(model: str) -> nn.Module:
    module_name, _, class_name = model.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise NetworkError(f"{module_name!r} is no module name; {_WANTED}")
    cls = getattr(_import_own(module_name), class_name, None)
    base = load("torch.nn", "Module", extra="export")
    if cls is None:
        raise NetworkError(f"{module_name} has no {class_name!r}; {_WANTED}")
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise NetworkError(f"{model} is not an nn.Module class; {_WANTED}")
    required = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise NetworkError(
            f"{model} cannot be built without arguments ({', '.join(required)}); give "
            "them defaults, or name a subclass that does"
        )
    try:
        network: nn.Module = cls()
    except Exception as error:  # whatever the user's constructor raises
        raise NetworkError(f"building {model} failed: {_brief(error)}") from error
    return network


def _import_own(name: str) -> ModuleType:
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's module raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise NetworkError(f"there is no module {missing!r}; {_WANTED}") from error
        raise NetworkError(f"importing {name} failed: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    """The type and the first line of an error that is not ours."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _load_shipped(network: nn.Module, model: str) -> dict[str, str]:
    file = resources.files("derain.models.weights") / f"{model}.safetensors"
    if not file.is_file():
        raise CheckpointError(
            f"no weights ship for {model} yet; give --weights FILE, or "
            "--random-weights to measure speed"
        )
    with resources.as_file(file) as path:
        load_checkpoint = load(
            "derain.models.checkpoint", "load_checkpoint", extra="export"
        )
        digest: str = load_checkpoint(network, path)
    return {"source": f"shipped {path.name}", "sha256": digest}


def _fill_zeros(network: nn.Module) -> None:
    """Let no parameter be all zero: such a network is the identity, and proves nothing.

    Values depend on the parameter's name alone.
    """
    torch = importlib.import_module("torch")
    for name, parameter in network.named_parameters():
        if not bool(parameter.detach().any()):
            digest = hashlib.sha256(name.encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
            values = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(values * _ZERO_STD)
