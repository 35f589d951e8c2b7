"""The one way to get a network with its weights, whoever wrote it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import inspect
import logging
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from derain.core.errors import (
    CheckpointError,
    DerainError,
    NetworkError,
    UnknownNameError,
)
from derain.core.lazy import load
from derain.models.registry import MODELS, NetworkFacts, create_model

if TYPE_CHECKING:
    from torch import nn

    from derain.models.video_network import VideoNetwork

_log = logging.getLogger(__name__)

_SEED = 0
# What `derain.core.interrupts` ends the program with after SIGTERM and SIGHUP.
_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGHUP)
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
        video: The network with its memory; None where it sees one picture alone.
    """

    name: str
    network: nn.Module
    facts: NetworkFacts
    paper: str
    weights: dict[str, str]
    video: VideoNetwork | None = None


def open_network(
    model: str | nn.Module,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    facts: NetworkFacts | None = None,
    window: int = 1,
    look_ahead: int = 0,
) -> LoadedNetwork:
    """Build a network and give it its weights.

    Args:
        model: A key of `derain.models.registry.MODELS`, or ``package.module:Class`` for
            any `nn.Module` that can be built without arguments; the current folder
            comes first in the search, and stays on ``sys.path``. Or a network itself,
            which is copied and stays as it is.
        weights: Checkpoint. None takes the weights that ship with the package, and
            leaves a network of the user's own as its constructor made it, or as given.
        random_weights: Untrained weights, always the same; no parameter is all zero,
            or a network whose last layer starts at zero would be the identity.
        facts: How to feed the network; None takes the registry's, or plain RGB.
        window: Frames that the network sees at once.
        look_ahead: How many frames after the one that it derains it has seen.

    Raises:
        UnknownNameError: No such model.
        NetworkError: The user's class cannot be imported or built; what it raised
            is the cause. Or it takes no such window.
        CheckpointError: The weights do not fit, or none ship, or `weights` and
            `random_weights` are both given.
        MissingDependencyError: PyTorch is not installed.
    """
    if weights is not None and random_weights:
        raise CheckpointError("both weights and random weights asked for; choose one")
    live = not isinstance(model, str)
    if isinstance(model, str):
        name, own = model, ":" in model
        if not own and name not in MODELS:
            raise UnknownNameError("model", name, [*MODELS, "package.module:Class"])
        network = _build(name, reproducibly=random_weights)
    else:
        name, own = type(model).__name__.lower(), True
        network = _copied(model)
    if weights is not None:
        load_checkpoint = load(
            "derain.models.checkpoint", "load_checkpoint", extra="export"
        )
        source = {"source": weights.name, "sha256": load_checkpoint(network, weights)}
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
    if own and not has_states(network):
        _check_forward(network, window)
    entry = None if own else MODELS[name]
    facts = facts or (entry.facts if entry else NetworkFacts())
    open_video = load("derain.models.video_network", "open_video", extra="export")
    return LoadedNetwork(
        name=name,
        network=network,
        facts=facts,
        paper=entry.paper if entry else "",
        weights=source,
        video=open_video(network, facts, window=window, look_ahead=look_ahead),
    )


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


def _check_forward(network: nn.Module, window: int) -> None:
    """Say what `network` could be given besides its pictures, and is not.

    Raises:
        NetworkError: It needs more than a picture, and more than `window` pictures.
    """
    try:
        inputs = list(inspect.signature(network.forward).parameters.values())
    except (TypeError, ValueError):  # compiled or scripted
        return
    kind = type(network).__name__
    named = [p for p in inputs if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    others = named[1:]
    needed = [p.name for p in others if p.default is p.empty]
    if window > 1 and len(needed) == window - 1:  # the other frames
        others, needed = others[window - 1 :], []
    if needed:
        raise NetworkError(
            f"{kind}.forward wants {', '.join(needed)} besides the picture; give them "
            "defaults, or name a subclass that does"
        )
    if others:
        left_out = ", ".join(p.name for p in others)
        _log.warning(
            f"{kind}.forward is given the picture alone: {left_out} is left out; a "
            "method states(height, width), which returns shapes, gives it a memory"
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
    with users_code(f"building {model}"):
        network: nn.Module = cls()
    return network


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


@contextlib.contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turn whatever a user's own code raises, ``sys.exit()`` too, into one line."""
    try:
        yield
    except DerainError:
        raise
    except SystemExit as error:
        if error.code in _STOPPED:
            raise
        raise NetworkError(
            f"{what} failed: it ends the program (sys.exit); keep what a script does "
            'under if __name__ == "__main__"'
        ) from error
    except Exception as error:
        raise NetworkError(f"{what} failed: {brief(error)}") from error


def brief(error: BaseException) -> str:
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
