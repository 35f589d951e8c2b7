"""What is evaluated, opened: networks in PyTorch and bundles, with memory or without.

All of them derain clips. A picture is a clip of one frame, so that nothing is left of
the picture before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from derain.benchmarks.own_network import OwnNetwork
from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, UnknownNameError
from derain.core.pairs import Picture
from derain.models.loading import open_network
from derain.models.registry import MODELS, NetworkFacts
from derain.models.torch_reference import derain_frame
from derain.models.users_code import users_code
from derain.models.video_network import VideoNetwork, open_video
from derain.models.video_stream import VideoStream
from derain.runtime.derainer import Derainer
from derain.training.run_folder import STATE, load_average

# What derains: a network's name, a live network, a bundle or its folder.
Evaluated: TypeAlias = str | Path | Bundle | nn.Module

DerainClip = Callable[[Iterable[Picture]], Generator[Picture, None, None]]


@dataclass(frozen=True, slots=True)
class ClipDerainer:
    """A network or a bundle that has been opened.

    Attributes:
        clip: Derains the frames of a clip, each `(H, W, 3)` uint8 BGR: as many, and in
            order. It starts afresh; a picture is valid until the next is asked for.
        remembers: Whether a frame depends on those before it.
    """

    clip: DerainClip
    remembers: bool

    def picture(self, picture: Picture) -> Picture:
        """Derain one that has nothing to do with those before it."""
        with contextlib.closing(self.clip([picture])) as derained:
            return next(derained).copy()


def open_derainer(
    evaluated: Evaluated, options: EvaluateOptions
) -> tuple[str, contextlib.AbstractContextManager[ClipDerainer]]:
    """Its name in the table, and what derains; `check_options` has passed.

    Raises:
        DerainError: It cannot be loaded.
    """
    if isinstance(evaluated, nn.Module):
        name, network = type(evaluated).__name__, evaluated.eval()
        own = OwnNetwork.of(options, own=True)
        opened = _with_memory(network, own.facts, own)
    elif is_network(evaluated):
        assert isinstance(evaluated, str)  # `is_network` says so
        name, opened = f"{evaluated}, PyTorch", _named(evaluated, options)
    else:
        return _place(evaluated), _bundle(evaluated, options)
    return name, contextlib.nullcontext(opened)


def is_network(evaluated: Evaluated) -> bool:
    """Whether it is the name of a network, of the registry or ``package.module:Class``.

    A folder of such a name is a bundle.
    """
    if not isinstance(evaluated, str):
        return False
    return evaluated in MODELS or (":" in evaluated and not Path(evaluated).exists())


def check_options(evaluated: Iterable[Evaluated], options: EvaluateOptions) -> None:
    """Raise where options are for something that is not evaluated.

    Raises:
        ConfigError: They are.
        UnknownNameError: One of `evaluated` is neither a network nor a bundle.
    """
    evaluated = list(evaluated)
    for each in evaluated:
        if isinstance(each, str) and not (is_network(each) or Path(each).exists()):
            raise UnknownNameError("model", each, [*MODELS, "package.module:Class"])
    names = [each for each in evaluated if is_network(each)]
    if options.weights is not None and len(names) != 1:
        raise ConfigError(
            "weights are of one network by its name; a bundle has its own"
        )
    own = any(
        isinstance(each, nn.Module) or each not in MODELS
        for each in evaluated
        if isinstance(each, nn.Module) or is_network(each)
    )
    OwnNetwork.of(options, own=own)


def _named(model: str, options: EvaluateOptions) -> ClipDerainer:
    weights = options.weights
    if options.threads:
        torch.set_num_threads(options.threads)
    own = OwnNetwork.of(options, own=True) if model not in MODELS else OwnNetwork()
    facts = MODELS[model].facts if model in MODELS else own.facts
    if model in MODELS and weights is not None and (weights / STATE).is_file():
        return _with_memory(load_average(model, weights), facts, own)
    loaded = open_network(
        model,
        weights=weights,
        facts=facts,
        **own.keywords(),
    )
    return _derains(loaded.network, facts, loaded.video)


def _with_memory(
    network: nn.Module, facts: NetworkFacts, own: OwnNetwork
) -> ClipDerainer:
    video = open_video(
        network,
        facts,
        window=own.window,
        look_ahead=own.look_ahead,
        inputs=dict(own.inputs),
    )
    return _derains(network, facts, video)


def _derains(
    network: nn.Module, facts: NetworkFacts, video: VideoNetwork | None
) -> ClipDerainer:
    kind = type(network).__name__
    if video is None:
        return ClipDerainer(partial(_each_alone, network, facts, kind), False)
    return ClipDerainer(partial(_remembering, video.eval(), kind), True)


def _each_alone(
    network: nn.Module, facts: NetworkFacts, kind: str, frames: Iterable[Picture]
) -> Generator[Picture, None, None]:
    for frame in frames:
        with users_code(_running(kind, frame)):
            derained = derain_frame(network, facts, frame)
        yield derained


def _remembering(
    video: VideoNetwork, kind: str, frames: Iterable[Picture]
) -> Generator[Picture, None, None]:
    """With look-ahead, the last frame comes again in place of those to come."""
    stream = VideoStream(video)
    shown = -video.look_ahead
    for frame in _and_its_end(frames, video.look_ahead):
        with users_code(_running(kind, frame)):
            derained = stream.derain(frame)
        if shown >= 0:
            yield derained
        shown += 1


def _and_its_end(frames: Iterable[Picture], again: int) -> Iterator[Picture]:
    last = None
    for last in frames:
        yield last
    for _ in range(again if last is not None else 0):
        assert last is not None
        yield last


def _running(kind: str, frame: Picture) -> str:
    return f"running {kind} on a frame of {frame.shape[1]}x{frame.shape[0]}"


def _place(bundle: str | Path | Bundle) -> str:
    return str(bundle.folder if isinstance(bundle, Bundle) else bundle)


@contextlib.contextmanager
def _bundle(
    bundle: str | Path | Bundle, options: EvaluateOptions
) -> Iterator[ClipDerainer]:
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(Path(bundle))
    derainer = Derainer(bundle, options.backend, options.threads)
    with contextlib.closing(derainer):
        yield ClipDerainer(derainer.stream, bool(bundle.manifest.states))
