"""Which convolutions of a network INT8 takes, and how far it reaches for each.

As `derain.calibration.layers` decides on a graph: not what is depth-wise, redraws the
picture or feeds an argmax. A network's forward passes on training crops say what is
what.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from derain.calibration.histograms import Histogram
from derain.calibration.ranges import METHODS
from derain.core.errors import TrainingError
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import picture_of
from derain.models.video_network import VideoNetwork
from derain.training.quantised_forward import (
    Call,
    Function,
    NetworkMode,
    QuantisationPlan,
    identity,
)
from derain.training.recurrent import start_states

METHOD = "mse"
_ELEMENTWISE = frozenset(
    {"add", "sub", "mul", "relu", "leaky_relu", "batch_norm", "contiguous", "to"}
)
_SUMS = frozenset({"add", "sub"})
_ARGMAX = frozenset({"max_pool2d_with_indices", "argmax"})

_log = logging.getLogger(__name__)


def plan_of(
    network: nn.Module, facts: NetworkFacts, batches: Iterable[Tensor]
) -> QuantisationPlan:
    """What to quantise in `network`, and ranges from what it sees of `batches`.

    Args:
        network: Left in training mode.
        facts: How to feed it.
        batches: Rainy crops, each `(N, 3, H, W)` or `(N, frames, 3, H, W)`.

    Raises:
        TrainingError: It has no convolution that INT8 takes.
    """
    observer = _Observer(network)
    network.eval()
    with torch.no_grad(), observer:
        for rainy in batches:
            if rainy.ndim == 4:
                observer.finish(picture_of(network(rainy), facts, rainy))
                continue
            video = VideoNetwork(network, facts)
            states = start_states(video, rainy[:, 0])
            for index in range(rainy.shape[1]):
                picture, *states = video(rainy[:, index], *states)
                observer.finish(picture)
    network.train()
    plan = observer.plan()
    if not plan.layers:
        raise TrainingError(
            "--qat: the network has no convolution that INT8 takes: F.conv2d or "
            "nn.Conv2d with a kernel of its own, not depth-wise"
        )
    left = [
        name
        for name, x in network.named_parameters()
        if x.ndim == 4 and name not in plan.kernels
    ]
    _log.info(
        f"{len(plan.layers)} convolutions with {len(plan.kernels)} kernels and "
        f"{len(plan.additions)} addends of residuals in INT8; "
        f"in floating point: {', '.join(left) or 'none'}"
    )
    return plan


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a tensor comes from.

    Attributes:
        tensor: It.
        is_image: Computed from the network's inputs by no convolution.
        elementwise: Convolutions and additions that lead to it through nothing but
            element-wise operators.
        redraws: Convolutions since the image was added, if it was and nothing else
            joined them; or None.
    """

    tensor: Tensor
    is_image: bool = False
    elementwise: frozenset[str] = frozenset()
    redraws: frozenset[str] | None = None


class _Observer(NetworkMode):
    """Follows tensors through forward passes."""

    refuses = True

    def __init__(self, network: nn.Module) -> None:
        self._histograms: dict[str, Histogram] = defaultdict(Histogram)
        self._layers: dict[str, str] = {}
        self._addends: dict[tuple[int, int], str] = {}
        self._stay: set[str] = set()
        super().__init__(network)

    def restart(self, *inputs: Any) -> None:
        super().restart(*inputs)
        self._origins = {
            id(x): _Origin(x, is_image=True) for x in inputs if isinstance(x, Tensor)
        }
        self._readers: dict[tuple[int, int], str] = {}
        self._sums: dict[tuple[int, int], tuple[int, int]] = {}
        self._kept: list[Tensor] = []  # numbers of tensors stay theirs

    def convolution(self, layer: str, kernel: str, call: Call) -> Tensor:
        x, weight = call["input"], call["weight"]
        first = self._readers.setdefault(identity(x), layer)
        if first == layer:
            self._kept.append(x)
            values = x.detach().float().abs().cpu()
            self._histograms[layer].add(values.numpy(), float(values.max()))
        self._layers[layer] = first
        if call.get("groups", 1) > 1 and weight.shape[1] == 1:
            self._stay.add(layer)
        y = torch.conv2d(**call)
        before = self._origins.get(id(x))
        redraws = None if before is None else before.redraws
        if redraws is not None:
            redraws |= {layer}
        mark = frozenset({layer})
        self._origins[id(y)] = _Origin(y, elementwise=mark, redraws=redraws)
        return y

    def addition(self, number: int, func: Function, args: tuple[Any, ...]) -> Any:
        origins = [self._origins.get(id(x)) for x in args]
        if all(origins):
            for index, (x, origin) in enumerate(zip(args, origins, strict=True)):
                if origin is not None and not origin.is_image:
                    self._sums[number, index] = identity(x)
        return self._follow(func, args, {}, frozenset({f"+{number}"}))

    def other(self, func: Function, args: tuple[Any, ...], kwargs: Call) -> Any:
        return self._follow(func, args, kwargs)

    def _follow(
        self,
        func: Function,
        args: tuple[Any, ...],
        kwargs: Call,
        mark: frozenset[str] = frozenset(),
    ) -> Any:
        found = (self._origins.get(id(x)) for x in _tensors([*args, *kwargs.values()]))
        origins = [origin for origin in found if origin is not None]
        name = getattr(func, "__name__", "").rstrip("_")
        led = mark.union(*(origin.elementwise for origin in origins))
        if name in _ARGMAX:
            self._stay |= led
        redraws = None
        if name in _SUMS:
            if any(origin.is_image for origin in origins):
                redraws = frozenset[str]()
        elif len(origins) == 1:
            redraws = origins[0].redraws
        result = func(*args, **kwargs)
        if origins:
            for y in _tensors([result]):
                self._origins[id(y)] = _Origin(
                    y,
                    is_image=all(origin.is_image for origin in origins),
                    elementwise=led if name in _ELEMENTWISE else frozenset(),
                    redraws=redraws,
                )
        return result

    def finish(self, picture: Tensor) -> None:
        """Take the end of a forward pass."""
        origin = self._origins.get(id(picture))
        if origin is not None and origin.redraws is not None:
            self._stay |= origin.redraws
        for place, tensor in self._sums.items():
            if tensor in self._readers:
                self._addends[place] = self._readers[tensor]
        self.restart()

    def plan(self) -> QuantisationPlan:
        layers = {k: v for k, v in self._layers.items() if k not in self._stay}
        read = set(layers.values())
        find = METHODS[METHOD].find
        return QuantisationPlan(
            layers=layers,
            reach={name: find(self._histograms[name]) for name in sorted(read)},
            additions=[
                (number, index, tensor)
                for (number, index), tensor in sorted(self._addends.items())
                if tensor in read and f"+{number}" not in self._stay
            ],
        )


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors in `values` and in the lists and tuples among them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
