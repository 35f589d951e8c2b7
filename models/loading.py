"""The one way to get a network with its weights, whoever wrote it."""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from derain.core.errors import CheckpointError, NetworkError, UnknownNameError
from derain.core.lazy import load
from derain.models.arguments import construct
from derain.models.forward_inputs import Feed, check_forward, feed
from derain.models.registry import MODELS, NetworkFacts, create_model
from derain.models.users_code import brief, users_code

if TYPE_CHECKING:
    from torch import nn

    from derain.models.video_network import VideoNetwork

_log = logging.getLogger(__name__)

_SEED = 0
_ZERO_STD = 0.01
_WANTED = "wanted package.module:Class, found from the current folder"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNetwork:
    """A network ready to be used.

    Attributes:
        name: Name in the registry, or ``package.module:Class``, or a function's.
        network: In eval mode, float32, on the processor.
        facts: How to feed it.
        paper: Where it was published; empty for a network of the user's own.
        weights: ``source`` says where the weights came from, ``sha256`` is the hash of
            their file, or empty.
        video: The network with its memory; None where it sees one picture alone.
        arguments: What it was built with, besides its defaults.
        inputs: What its forward is given besides pictures.
    """

    name: str
    network: nn.Module
    facts: NetworkFacts
    paper: str
    weights: dict[str, str]
    video: VideoNetwork | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Feed] = field(default_factory=dict)


def open_network(
    model: str | nn.Module,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    facts: NetworkFacts | None = None,
    window: int = 1,
    look_ahead: int = 0,
    arguments: Mapping[str, Any] = _NOTHING,
    inputs: Mapping[str, Feed] = _NOTHING,
) -> LoadedNetwork:
    """Build a network and give it its weights.

    Args:
        model: A key of `derain.models.registry.MODELS`, or ``package.module:Class`` for
            any `nn.Module`, or a function that returns one; the current folder comes
            first in the search, and stays on ``sys.path``. Or a network itself, which
            is copied and stays as it is.
        weights: Checkpoint. None takes the weights that ship with the package, and
            leaves a network of the user's own as its constructor made it, or as given.
        random_weights: Untrained weights, always the same; no parameter is all zero,
            or a network whose last layer starts at zero would be the identity.
        facts: How to feed the network; None takes the registry's, or plain RGB.
        window: Frames that the network sees at once.
        look_ahead: How many frames after the one that it derains it has seen.
        arguments: To build a network of the user's own with; see
            `derain.models.arguments`.
        inputs: What its forward is given besides pictures.

    Raises:
        UnknownNameError: No such model.
        NetworkError: The user's class cannot be imported or built; what it raised
            is the cause. Or it takes no such window, argument or input.
        CheckpointError: The weights do not fit, or none ship, or `weights` and
            `random_weights` are both given.
        MissingDependencyError: PyTorch is not installed.
    """
    if weights is not None and random_weights:
        raise CheckpointError("both weights and random weights asked for; choose one")
    load("derain.models.processor", "forget_note", extra="export")()
    live = not isinstance(model, str)
    if arguments and (live or ":" not in str(model)):
        raise NetworkError("arguments are for a network named by package.module:Class")
    if isinstance(model, str):
        name, own = model, ":" in model
        if not own and name not in MODELS:
            raise UnknownNameError("model", name, [*MODELS, "package.module:Class"])
        network = _build(name, arguments, reproducibly=random_weights)
    else:
        name, own = type(model).__name__.lower(), True
        network = _copied(model)
    if weights is not None:
        load_checkpoint = load(
            "derain.models.checkpoint", "load_checkpoint", extra="export"
        )
        try:
            digest = load_checkpoint(network, weights)
        except CheckpointError as error:
            if own and not live and "does not fit" in str(error):
                raise CheckpointError(f"{error}{_other_arguments(network)}") from error
            raise
        source = {"source": weights.name, "sha256": digest}
    elif random_weights:
        _fill_zeros(network)
        source = {"source": f"random, seed {_SEED}", "sha256": ""}
    elif live:
        source = {"source": "as given", "sha256": ""}
    elif own:
        _log.warning(
            f"no weights are given: {name} is as its constructor makes it; --weights "
            "FILE loads a checkpoint"
        )
        source = {"source": "as constructed", "sha256": ""}
    else:
        source = _load_shipped(network, name)
    network = network.float().eval()
    has_states = load("derain.models.video_network", "has_states", extra="export")
    feed(network, inputs)
    if own and not has_states(network):
        check_forward(network, window, inputs)
    entry = None if own else MODELS[name]
    facts = facts or (entry.facts if entry else NetworkFacts())
    open_video = load("derain.models.video_network", "open_video", extra="export")
    return LoadedNetwork(
        name=name,
        network=network,
        facts=facts,
        paper=entry.paper if entry else "",
        weights=source,
        video=open_video(
            network, facts, window=window, look_ahead=look_ahead, inputs=inputs
        ),
        arguments=arguments,
        inputs=inputs,
    )


def _other_arguments(network: nn.Module) -> str:
    """What could have been given to the constructor of `network`, as advice."""
    try:
        names = list(inspect.signature(type(network)).parameters)
    except (TypeError, ValueError):
        return ""
    if not names:
        return ""
    return f"; was it trained with other arguments (--arg {names[0]}=VALUE, ...)?"


def _copied(network: nn.Module) -> nn.Module:
    base = load("torch.nn", "Module", extra="export")
    if not isinstance(network, base):
        raise NetworkError(f"{type(network).__name__} is not an nn.Module; {_WANTED}")
    try:
        copied: nn.Module = copy.deepcopy(network).cpu()
    except Exception as error:  # what holds a graph of gradients, a lock, a file
        raise NetworkError(
            f"{type(network).__name__} cannot be copied: {brief(error)}; give it as "
            "package.module:Class and --weights"
        ) from error
    return copied


def _build(
    model: str, arguments: Mapping[str, Any], *, reproducibly: bool
) -> nn.Module:
    fork_rng = load("torch", "random", extra="export").fork_rng
    manual_seed = load("torch", "manual_seed", extra="export")
    with fork_rng(enabled=reproducibly):
        if reproducibly:
            manual_seed(_SEED)
        if ":" not in model:
            return create_model(model)
        return _build_own(model, arguments)


def _build_own(model: str, arguments: Mapping[str, Any]) -> nn.Module:
    module_name, _, name = model.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise NetworkError(f"{module_name!r} is no module name; {_WANTED}")
    make = getattr(_import_own(module_name), name, None)
    base = load("torch.nn", "Module", extra="export")
    if make is None:
        raise NetworkError(f"{module_name} has no {name!r}; {_WANTED}")
    is_class = isinstance(make, type)
    if not callable(make) or (is_class and not issubclass(make, base)):
        raise NetworkError(f"{model} is not an nn.Module class; {_WANTED}")
    with users_code(f"building {model}"):
        network = construct(model, make, arguments)
    if not isinstance(network, base):
        returned = type(network).__name__
        raise NetworkError(f"{model} returns {returned}, wanted an nn.Module")
    return cast("nn.Module", network)


def _import_own(name: str) -> ModuleType:
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    with users_code(f"importing {name}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name
            if missing and (name == missing or name.startswith(f"{missing}.")):
                raise NetworkError(
                    f"there is no module {missing!r}; {_WANTED}"
                ) from error
            raise


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
