"""The frame contract: what lies between a camera's frame and a network.

A frame is `(H, W, 3)` uint8 BGR. A network sees `(1, 3, H', W')` float in its own
range, [0, 1] for most, and in its own colour order, grown at the right and at the
bottom to a size that it takes: by reflection where the picture is large enough, by
repeating its edge where it is not. What it returns is cropped to H and W, clipped to
that range and rounded to 256 levels.

The rule is written here once. `derain.core.frame_tensors` follows it with NumPy,
`derain.models.torch_reference` with PyTorch, `derain.export.frame_graph` with the nodes
of a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from derain.core.sizes import Size, SizeRange

Colour = Literal["rgb", "bgr"]
PadMode = Literal["reflect", "edge"]

PEAK = 255
UNIT_RANGE = (0.0, 1.0)


class Padding(NamedTuple):
    """What a frame grows by, in pixels, and how it is filled."""

    right: int
    down: int
    mode: PadMode


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameContract:
    """What a network wants its pictures to be.

    Attributes:
        colour: Channel order of the network's input and output.
        multiple_of: Height and width must be multiples of this, in pixels.
        minimum: Smallest height and width it takes, in pixels.
        value_range: What black and white are, in its input and its output.
    """

    colour: Colour = "rgb"
    multiple_of: int = 1
    minimum: int = 1
    value_range: tuple[float, float] = UNIT_RANGE

    @property
    def scale(self) -> float:
        """What one grey level is; black is ``value_range[0]``."""
        black, white = self.value_range
        return (white - black) / PEAK

    def round_up(self, length: int) -> int:
        """The next multiple, from `length` on."""
        return -(-length // self.multiple_of) * self.multiple_of

    @property
    def smallest(self) -> int:
        """The smallest padded height or width: a multiple, and at least `minimum`."""
        return self.round_up(self.minimum)

    def padded(self, size: Size) -> Size:
        """The size at which the network sees a frame of `size`."""
        least = self.smallest
        return Size(
            max(self.round_up(size.width), least),
            max(self.round_up(size.height), least),
        )

    def padding(self, size: Size) -> Padding:
        """What a frame of `size` grows by."""
        full = self.padded(size)
        right, down = full.width - size.width, full.height - size.height
        fits = right < size.width and down < size.height
        return Padding(right, down, "reflect" if fits else "edge")

    def never_pads(self, sizes: SizeRange) -> bool:
        """Whether frames of all `sizes` are seen as they are."""
        if sizes.is_static:
            return self.padded(sizes.optimum) == sizes.optimum
        least = min(sizes.minimum.width, sizes.minimum.height)
        return self.multiple_of == 1 and least >= self.minimum

    def pad_mode(self, sizes: SizeRange) -> PadMode:
        """The one way in which frames of all `sizes` can be filled."""
        if sizes.is_static:
            return self.padding(sizes.optimum).mode
        least = min(sizes.minimum.width, sizes.minimum.height)
        fits = least >= self.minimum and least >= self.multiple_of
        return "reflect" if fits else "edge"
