"""The one way to get a network with its weights, whoever wrote it."""

from __future__ import annotations

import hashlib
import importlib
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from derain.models.registry import MODELS, NetworkFacts, create_model
from derain.runtime.errors import (
    CheckpointError,
    DerainError,
    MissingDependencyError,
    NetworkError,
    UnknownNameError,
)
from derain.runtime.optional import load

if TYPE_CHECKING:
    from torch import nn

_SEED = 0
_ZERO_STD = 0.01


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
            any `nn.Module` that can be built without arguments; the current folder is
            searched too.
        weights: Checkpoint. None takes the weights that ship with the package, and
            leaves a network of the user's own as its constructor made it.
        random_weights: Untrained weights, always the same.
        facts: How to feed the network; None takes the registry's, or plain RGB.

    Raises:
        UnknownNameError: No such model.
        NetworkError: The user's class cannot be imported or built.
        CheckpointError: The weights do not fit, or none ship.
        MissingDependencyError: PyTorch is not installed.
    """
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
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    advice = "wanted package.module:Class, found from the current folder"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise NetworkError(f"there is no module {missing!r}; {advice}") from error
        raise NetworkError(
            f"{module_name} needs {missing}, which is not installed"
        ) from error
    except (ValueError, TypeError) as error:
        raise NetworkError(f"{module_name!r} is no module name; {advice}") from error
    cls = getattr(module, class_name, None)
    base = load("torch.nn", "Module", extra="export")
    if cls is None:
        raise NetworkError(f"{module_name} has no {class_name!r}; {advice}")
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise NetworkError(f"{model} is not an nn.Module class; {advice}")
    try:
        network: nn.Module = cls()
    except (DerainError, MissingDependencyError):
        raise
    except Exception as error:  # whatever the user's constructor raises
        raise NetworkError(
            f"{model} cannot be built without arguments: {error}; give its constructor "
            "defaults, or name a subclass that has them"
        ) from error
    return network


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
