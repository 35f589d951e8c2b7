"""Networks that see more than one picture: a window of frames, or states.

A network with states says what it remembers::

    class Net(nn.Module):
        def states(self, height, width):  # of the padded frame, in pixels
            return [(1, 16, height // 2, width // 2)]

        def forward(self, frame, hidden):  # (1, 3, H, W), and a tensor for each state
            ...
            return derained, new_hidden

and starts from zeros. ``states`` may also be an attribute, with lengths as in
`derain.core.states`: ``states = [(1, 16, "height/2", "width/2")]``.

A network over a window of T frames, the newest last, needs no change; it takes one of
the `LAYOUTS`, which `find_layout` tries. What it returns is the picture of the frame
that is `look_ahead` before the newest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from derain.core.errors import DerainError, NetworkError
from derain.core.graph_memory import GraphMemory
from derain.core.sizes import Size, SizeRange
from derain.core.states import FRAME_SHAPE, StateSpec, state_names
from derain.models.forward_inputs import Feed, needed, takes_any
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import picture_of
from derain.models.users_code import brief, users_code

_log = logging.getLogger(__name__)

Pictures = Sequence[Tensor]  # each (1, 3, H, W)

# How a window is given to a network, by the shape that it takes.
LAYOUTS: dict[str, Callable[[Pictures], tuple[Tensor, ...]]] = {
    "T arguments (N, 3, H, W)": tuple,
    "(N, T*3, H, W)": lambda pictures: (torch.cat(list(pictures), 1),),
    "(N, T, 3, H, W)": lambda pictures: (torch.stack(list(pictures), 1),),
    "(N, 3, T, H, W)": lambda pictures: (torch.stack(list(pictures), 2),),
}
_TIME_AXIS = {"(N, T, 3, H, W)": 1, "(N, 3, T, H, W)": 2}
_TRIED_AT = Size(64, 48)


class VideoNetwork(nn.Module):
    """A network whatever its memory: pictures and states in, a picture and states out.

    Args:
        network: With states of its own, or over a window.
        facts: How to feed it.
        window: Frames that it sees at once; 1 for a network with states.
        look_ahead: How many of them come after the one that it derains.
        layout: Of the window: a key of `LAYOUTS`.
    """

    def __init__(
        self,
        network: nn.Module,
        facts: NetworkFacts,
        *,
        window: int = 1,
        look_ahead: int = 0,
        layout: str = "",
    ) -> None:
        super().__init__()
        self.network = network
        self.facts = facts
        self.window = window
        self.look_ahead = look_ahead
        self.layout = layout

    @property
    def kind(self) -> str:
        """What the user calls it."""
        return type(self.network).__name__

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """One frame.

        Args:
            inputs: `window` pictures, `(1, 3, H, W)` float, the newest last; then the
                states.

        Returns:
            The derained picture; then the states for the next frame, as many.

        Raises:
            NetworkError: The network returns something else.
        """
        pictures, states = inputs[: self.window], inputs[self.window :]
        seen = pictures[len(pictures) - 1 - min(self.look_ahead, len(pictures) - 1)]
        if self.window > 1:
            result = self.network(*LAYOUTS[self.layout](pictures))
            return (picture_of(self._one_of(result), self.facts, seen),)
        result = self.network(seen, *states)
        if isinstance(result, Mapping):
            result = list(result.values())
        count = len(states)
        if not isinstance(result, Sequence) or len(result) < count + 1:
            found = f"{len(result)} outputs" if isinstance(result, Sequence) else "one"
            raise NetworkError(
                f"{self.kind} returns {found}, wanted the derained picture and "
                f"{count} states, as many as its states(height, width) names"
            )
        left = len(result) - count
        new = result[left:]
        for name, state in zip(state_names(count), new, strict=True):
            if not (isinstance(state, Tensor) and state.is_floating_point()):
                what = state.dtype if isinstance(state, Tensor) else type(state)
                raise NetworkError(
                    f"{self.kind} returns {name} as {what}, wanted a tensor of floats"
                )
        return picture_of(list(result[:left]), self.facts, seen), *new

    def _one_of(self, result: Any) -> Any:
        """The picture that is meant, where a network returns all of a window."""
        axis = _TIME_AXIS.get(self.layout)
        if axis is None or not isinstance(result, Tensor) or result.ndim != 5:
            return result
        if result.shape[axis] == 1:
            return result.select(axis, 0)
        if result.shape[axis] != self.window:
            raise NetworkError(
                f"{self.kind} returns {tuple(result.shape)}, wanted one picture, or "
                f"{self.window}"
            )
        return result.select(axis, self.window - 1 - self.look_ahead)

    def shapes(self, padded: Size) -> list[tuple[int, ...]]:
        """Shapes of the network's own states.

        Args:
            padded: The size at which it sees a frame.

        Raises:
            NetworkError: What it says makes no sense.
        """
        said: Any = self.network.states if self.window == 1 else []
        if callable(said):
            with users_code(f"{self.kind}.states({padded.height}, {padded.width})"):
                said = said(padded.height, padded.width)
        names = state_names(len(said)) if isinstance(said, Sequence) else []
        try:
            return [
                StateSpec(name=name, shape=tuple(shape), dtype="float32").shape_for(
                    padded, padded
                )
                for name, shape in zip(names, said, strict=True)
            ]
        except (TypeError, ValueError) as error:
            raise NetworkError(
                f"{self.kind}.states says {brief(error)}; wanted a list of shapes, "
                "such as [(1, 16, height // 2, width // 2)]"
            ) from error

    def specs(self, sizes: SizeRange) -> tuple[StateSpec, ...]:
        """The states of a graph for frames of `sizes`, in FP32.

        Raises:
            NetworkError: A state's shape is no fraction of the frame's size.
        """
        if self.window > 1:
            return tuple(
                StateSpec(name=name, shape=FRAME_SHAPE, dtype="uint8", start="frame")
                for name in state_names(self.window - 1)
            )
        size = self.facts.padded(sizes.optimum)
        shapes: list[tuple[int | str, ...]] = [*self.shapes(size)]
        if not sizes.is_static:
            shapes = self._fractions(sizes)
        return tuple(
            StateSpec(name=name, shape=shape, dtype="float32")
            for name, shape in zip(state_names(len(shapes)), shapes, strict=True)
        )

    def memory(self, sizes: SizeRange) -> GraphMemory:
        """What a graph for frames of `sizes` remembers; see `specs`."""
        return GraphMemory(self.specs(sizes), self.facts, self.look_ahead)

    def _fractions(self, sizes: SizeRange) -> list[tuple[int | str, ...]]:
        """Shapes by what of them grows with the frame's height and its width."""
        unit = self.facts.multiple_of
        low = self.facts.padded(sizes.minimum)
        taller = self.shapes(Size(low.width, low.height + unit))
        wider = self.shapes(Size(low.width + unit, low.height))
        found: list[tuple[int | str, ...]] = []
        for k, shape in enumerate(self.shapes(low)):
            lengths: list[int | str] = []
            for axis, length in enumerate(shape):
                side, whole = "", 0
                if taller[k][axis] != length:
                    side, whole = "height", low.height
                elif wider[k][axis] != length:
                    side, whole = "width", low.width
                part = whole // length
                lengths.append((f"{side}/{part}" if part > 1 else side) or length)
            found.append(tuple(lengths))
        for size in map(
            self.facts.padded, (sizes.minimum, sizes.optimum, sizes.maximum)
        ):
            for at in (size, Size(size.width + unit, size.height + unit)):
                for k, shape in enumerate(self.shapes(at)):
                    self._require_fraction(found[k], shape, at)
        return found

    def _require_fraction(
        self, found: tuple[int | str, ...], shape: tuple[int, ...], at: Size
    ) -> None:
        try:
            state = StateSpec(name="state_0", shape=found, dtype="float32")
            if state.shape_for(at, at) == shape:
                return
        except ValueError:
            pass
        raise NetworkError(
            f"a state of {self.kind} is {shape} in frames of {at}: for a range of "
            "sizes each length must be a whole part of the height or of the width; "
            "give --multiple-of, or one size with --size"
        )


def open_video(
    network: nn.Module,
    facts: NetworkFacts,
    *,
    window: int,
    look_ahead: int,
    inputs: Mapping[str, Feed],
) -> VideoNetwork | None:
    """`network` as a `VideoNetwork`, or None where it sees one picture alone.

    Args:
        network: In eval mode, float32.
        facts: How to feed it.
        window: Frames that it sees at once, 1 or more.
        look_ahead: How many of them come after the one that it derains.
        inputs: What its forward is given besides.

    Raises:
        NetworkError: It takes no window, or has states besides; or `look_ahead` makes
            no sense.
    """
    kind = type(network).__name__
    own = has_states(network)
    if own and window > 1:
        raise NetworkError(
            f"{kind} has states of its own; --window is for a network without"
        )
    if not own and look_ahead >= window:
        raise NetworkError(
            f"--look-ahead {look_ahead} needs a --window of {look_ahead + 1} frames or "
            f"more, got {window}"
        )
    if own:
        if look_ahead and facts.returns_rain:
            raise NetworkError(
                "--rain and --look-ahead exclude each other where a network has states "
                "of its own: let it take the rain off the frame that is meant"
            )
        return VideoNetwork(network, facts, look_ahead=look_ahead)
    if window == 1:
        return None
    video = VideoNetwork(network, facts, window=window, look_ahead=look_ahead)
    video.layout = find_layout(video, inputs)
    _log.info(f"{kind} takes a window of {window} frames as {video.layout}")
    return video


def has_states(network: nn.Module) -> bool:
    """Whether `network` says what it remembers."""
    said = getattr(network, "states", None)
    if isinstance(said, (nn.Module, Tensor)):
        return False
    return callable(said) or (isinstance(said, (list, tuple)) and bool(said))


def find_layout(video: VideoNetwork, inputs: Mapping[str, Feed]) -> str:
    """The first of `LAYOUTS` that the network of `video` makes a picture of.

    Args:
        video: Without a layout yet; it is left with the last one tried.
        inputs: What its forward is given besides.

    Raises:
        NetworkError: There is none.
    """
    size = video.facts.padded(_TRIED_AT)
    pictures = [torch.rand(1, 3, size.height, size.width) for _ in range(video.window)]
    fits, errors = [], []
    for layout in _candidates(video, inputs):
        video.layout = layout
        try:
            with torch.no_grad(), users_code(layout):
                picture = video(*pictures)[0]
            if picture.shape == pictures[0].shape:
                fits.append(layout)
            else:
                errors.append(f"{layout}: it returns {tuple(picture.shape)}")
        except DerainError as error:
            errors.append(str(error).replace(" failed", "", 1))
    if not fits:
        raise NetworkError(
            f"{video.kind} takes no window of {video.window} frames; "
            + "; ".join(errors)
        )
    if len(fits) > 1:
        _log.warning(
            f"{video.kind} takes a window as {' and as '.join(fits)}: the first is "
            "meant; a subclass may permute"
        )
    return fits[0]


def _candidates(video: VideoNetwork, inputs: Mapping[str, Feed]) -> list[str]:
    """The layouts that the signature of ``forward`` leaves open."""
    several, *single = LAYOUTS
    names = needed(video.network, inputs)
    if names is None:
        return list(LAYOUTS)
    if len(names) == video.window:
        return [several]
    return [*single, several] if takes_any(video.network) else single
