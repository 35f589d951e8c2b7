"""What a network's forward is given besides its picture: ``--input NAME=WHAT``.

What it is given follows from the picture (for a network over a window of frames, from
the window as it takes it): a hook adds it, so that the network stays as it is.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from derain.core.errors import NetworkError

if TYPE_CHECKING:
    from torch import Tensor, nn

_log = logging.getLogger(__name__)

Kind = Literal["frame", "half", "quarter", "constant"]
_KINDS = "frame, half, quarter or constant:VALUE"


@dataclass(frozen=True, slots=True)
class Feed:
    """What an input is given.

    Attributes:
        kind: The picture itself; every second or fourth row and column of it, as
            ``F.interpolate(x, scale_factor=0.5)`` gives; or a plane of its size.
        value: Of every pixel of such a plane.
    """

    kind: Kind
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Feed:
        """``"half"`` or ``"constant:0.1"`` -> `Feed`.

        Raises:
            ValueError: `text` is nothing of that kind.
        """
        kind, colon, value = text.strip().partition(":")
        if kind == "constant" and colon:
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                return cls("constant", number)
        if kind in ("frame", "half", "quarter") and not colon:
            return cls(cast(Kind, kind))
        raise ValueError(f"{text!r} is no input; wanted {_KINDS}")

    def of(self, picture: Tensor) -> Tensor:
        """What is given beside `picture`, `(..., H, W)`."""
        if self.kind == "frame":
            return picture
        if self.kind == "constant":
            # No constant of the frame's size: that would be in the file.
            plane = picture.flatten(1, -3)[:, :1]
            return plane * 0 + self.value
        step = 2 if self.kind == "half" else 4
        height, width = (side // step * step for side in picture.shape[-2:])
        return picture[..., :height:step, :width:step]

    def __str__(self) -> str:
        return f"constant:{self.value:g}" if self.kind == "constant" else self.kind


def parse_input(text: str) -> tuple[str, Feed]:
    """``"noise=constant:0.1"`` -> the input's name, and what it is given.

    Raises:
        ValueError: `text` is not of that form.
    """
    name, equals, what = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"{text!r} is not of the form NAME=WHAT; WHAT is {_KINDS}")
    return name, Feed.parse(what)


def feed(network: nn.Module, inputs: Mapping[str, Feed]) -> None:
    """Let `network` be given `inputs` besides what it is called with.

    Raises:
        NetworkError: Its forward has no such input.
    """
    if not inputs:
        return
    parameters = list(_parameters(network))
    names = [p.name for p in parameters if p.kind not in _SEVERAL]
    for name in inputs:
        if name not in names and not any(p.kind == p.VAR_KEYWORD for p in parameters):
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            kind = type(network).__name__
            raise NetworkError(f"{kind}.forward has no input {name!r}; {takes}")
    by_name = not names or names[0] in inputs  # the picture is not the first

    def add(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = {name: each.of(args[0]) for name, each in inputs.items()}
        return (() if by_name else args), {**kwargs, **given}

    network.register_forward_pre_hook(add, with_kwargs=True)


_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameters(network: nn.Module) -> list[inspect.Parameter]:
    forward: Callable[..., Any] = network.forward
    try:
        return list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # compiled or scripted
        return []


def needed(network: nn.Module, inputs: Mapping[str, Feed]) -> list[str] | None:
    """Names that forward must be given by position, without `inputs`; None: unknown."""
    parameters = _parameters(network)
    if not parameters:
        return None
    return [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in _SEVERAL and p.name not in inputs
    ]


def takes_any(network: nn.Module) -> bool:
    """Whether forward takes any number of arguments."""
    return any(p.kind == p.VAR_POSITIONAL for p in _parameters(network))


def check_forward(network: nn.Module, window: int, inputs: Mapping[str, Feed]) -> None:
    """Say what `network` could be given besides its pictures, and is not.

    Args:
        network: Without states of its own.
        window: How many pictures it is given, at most.
        inputs: What it is given besides.

    Raises:
        NetworkError: It takes no picture, or needs more than a picture, and more than
            `window` pictures.
    """
    parameters = _parameters(network)
    if not parameters:
        return
    kind = type(network).__name__
    named = [p for p in parameters if p.kind not in _SEVERAL]
    by_position = [
        p for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)
    ]
    if not by_position and not inputs:
        advice = f"--input {named[0].name}=frame" if named else "let it take one"
        raise NetworkError(f"{kind}.forward takes no picture by position; {advice}")
    others = [p for p in named[1:] if p.name not in inputs]
    if named and named[0].name in inputs:
        others = [p for p in named if p.name not in inputs]
    wanted = [p.name for p in others if p.default is p.empty]
    if window > 1 and len(wanted) == window - 1:  # the other frames
        others, wanted = others[window - 1 :], []
    if wanted:
        options = " ".join(f"--input {name}=WHAT" for name in wanted)
        raise NetworkError(
            f"{kind}.forward wants {', '.join(wanted)} besides the picture; give "
            f"{options}, where WHAT is {_KINDS}"
        )
    if others:
        left_out = ", ".join(p.name for p in others)
        _log.warning(
            f"{kind}.forward is given the picture alone: {left_out} is left out; "
            "--input gives it a picture or a constant, and a method states(height, "
            "width), which returns shapes, gives it a memory"
        )
