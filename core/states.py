"""What a bundle remembers between frames: the states of its graph.

A state goes in as ``state_0_in`` and comes out as ``state_0_out``; what came out with
one frame goes in with the next. Its length along an axis is a number, or follows from
the frame:

    "height", "width/4"             of the frame as the network sees it, padded
    "frame_height", "frame_width"   of the frame itself
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from derain.core.sizes import Size

StateDtype = Literal["float32", "float16", "uint8"]
Start = Literal["zeros", "frame"]

FRAME_SHAPE = (1, "frame_height", "frame_width", 3)
_LENGTH = re.compile(r"(height|width)(?:/([1-9]\d{0,4}))?|frame_height|frame_width")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """One state of a graph.

    Attributes:
        name: ``state_0`` and so on, with as many digits in all states of a graph.
        shape: A length for each axis: a number, or text as the module says.
        dtype: Of its values.
        start: Before the first frame it is all zeros, or it is that frame itself
            (`FRAME_SHAPE`, uint8 BGR): networks over a window of frames were not
            trained with black pictures.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: StateDtype
    start: Start = "zeros"

    def __post_init__(self) -> None:
        if re.fullmatch(r"state_\d+", self.name) is None:
            raise ValueError(f"state {self.name!r}: wanted a name such as state_0")
        for length in self.shape:
            whole = type(length) is int and length > 0
            if not whole and not (
                isinstance(length, str) and _LENGTH.fullmatch(length)
            ):
                raise ValueError(
                    f"{self.name}: length {length!r} is no number above 0, nor of the "
                    "form height/2, width/2, frame_height or frame_width"
                )
        if self.dtype not in get_args(StateDtype):
            raise ValueError(f"{self.name}: dtype {self.dtype!r} is not known")
        if self.start not in get_args(Start):
            raise ValueError(f"{self.name}: start {self.start!r} is not known")
        is_frame = self.dtype == "uint8" and self.shape == FRAME_SHAPE
        if self.start == "frame" and not is_frame:
            raise ValueError(
                f"{self.name}: {self.dtype} {self.shape} cannot start as a frame, "
                f"which is uint8 {FRAME_SHAPE}"
            )

    @property
    def input(self) -> str:
        """Name of the graph's input."""
        return f"{self.name}_in"

    @property
    def output(self) -> str:
        """Name of the graph's output."""
        return f"{self.name}_out"

    def shape_for(self, size: Size, padded: Size) -> tuple[int, ...]:
        """The shape for one size of frames.

        Args:
            size: Of the frame.
            padded: At which the network sees it; see `Manifest.padded`.

        Raises:
            ValueError: A length does not come out whole.
        """
        return tuple(self._length(each, size, padded) for each in self.shape)

    def _length(self, length: int | str, size: Size, padded: Size) -> int:
        if isinstance(length, int):
            return length
        if length.startswith("frame_"):
            return size.height if length == "frame_height" else size.width
        side, _, part = length.partition("/")
        whole = padded.height if side == "height" else padded.width
        found, rest = divmod(whole, int(part or 1))
        if rest or not found:
            raise ValueError(f"{self.name}: {length} of {padded} is not a whole number")
        return found

    def to_json(self) -> dict[str, Any]:
        """The state as a JSON object."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> StateSpec:
        """The state that `to_json` describes.

        Raises:
            KeyError: A field is missing.
            ValueError: A value makes no sense.
        """
        return cls(
            name=str(fields["name"]),
            shape=tuple(fields["shape"]),
            dtype=fields["dtype"],
            start=fields["start"],
        )


def state_names(count: int) -> list[str]:
    """Names of `count` states, which sort in their order."""
    digits = len(str(max(count - 1, 0)))
    return [f"state_{k:0{digits}}" for k in range(count)]
