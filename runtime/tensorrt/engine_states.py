"""The states of a graph as a builder needs them: their shapes for a range of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from derain.core.errors import EngineError
from derain.core.manifest import Manifest
from derain.core.sizes import Size, SizeRange
from derain.core.states import StateDtype, StateSpec

Shape = tuple[int, ...]

FRAME, DERAINED, HEALTH = "frame", "derained", "health"


def shape_of_frame(size: Size) -> Shape:
    """Of the graph's frame in and of its frame out."""
    return 1, size.height, size.width, 3


def has_health(states: Sequence[StateSpec | StateRange]) -> bool:
    """Whether a graph says if its states are finite: where they are no frames."""
    return any(state.dtype != "uint8" for state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRange:
    """One state of an engine.

    Attributes:
        name: ``state_0``: it goes in as ``state_0_in``, out as ``state_0_out``.
        dtype: Of its values.
        shapes: With the smallest frames, those to be fast with, and the largest.
    """

    name: str
    dtype: StateDtype
    shapes: tuple[Shape, Shape, Shape]

    def to_json(self) -> dict[str, Any]:
        """The state as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> StateRange:
        """The state that `to_json` wrote."""
        smallest, usual, largest = map(tuple, fields["shapes"])
        return cls(
            name=fields["name"],
            dtype=fields["dtype"],
            shapes=(smallest, usual, largest),
        )


def state_ranges(manifest: Manifest, sizes: SizeRange) -> tuple[StateRange, ...]:
    """The states of a bundle, for frames of `sizes`.

    Raises:
        EngineError: A length of one does not come out whole.
    """
    try:
        smallest, usual, largest = map(
            manifest.state_shapes, (sizes.minimum, sizes.optimum, sizes.maximum)
        )
    except ValueError as error:
        raise EngineError(f"frames of {sizes}: {error}") from error
    return tuple(
        StateRange(
            name=state.name,
            dtype=state.dtype,
            shapes=(smallest[k], usual[k], largest[k]),
        )
        for k, state in enumerate(manifest.states)
    )
