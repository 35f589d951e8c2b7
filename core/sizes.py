"""Frame sizes, and the range of sizes a graph accepts."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TypeAlias

from derain.core.numbers import shortened


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Width and height of a frame, in pixels, both at least 1."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"size {self}: width and height must be at least 1")

    @classmethod
    def parse(cls, text: str) -> Size:
        """``"1280x720"`` -> `Size`.

        Raises:
            ValueError: `text` is not of that form.
        """
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text.strip())
        if match is None:
            raise ValueError(
                f"size {shortened(text)} is not of the form WIDTHxHEIGHT, such as "
                "1280x720"
            )
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, value: SizeLike) -> Size:
        """`value` as a `Size`: itself, ``"1280x720"``, or ``(width, height)``.

        Raises:
            ValueError: It is none of these.
        """
        if isinstance(value, Size):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        try:
            width, height = (operator.index(side) for side in value)
        except (TypeError, ValueError):
            raise ValueError(
                f"size {shortened(value)} is no size; wanted '1280x720' or (1280, 720)"
            ) from None
        return cls(width, height)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


SizeLike: TypeAlias = Size | str | tuple[int, int]


@dataclass(frozen=True, slots=True)
class SizeRange:
    """The frame sizes a graph accepts: all from `minimum` to `maximum`.

    Attributes:
        minimum: Smallest width and smallest height.
        optimum: The size a compiler should tune for, and that of the golden frame.
        maximum: Largest width and largest height.
    """

    minimum: Size
    optimum: Size
    maximum: Size

    def __post_init__(self) -> None:
        ordered = all(
            low <= middle <= high
            for low, middle, high in (
                (self.minimum.width, self.optimum.width, self.maximum.width),
                (self.minimum.height, self.optimum.height, self.maximum.height),
            )
        )
        if not ordered:
            raise ValueError(
                f"sizes must grow from MIN over OPT to MAX in width and in height, "
                f"got {self.minimum},{self.optimum},{self.maximum}"
            )

    @classmethod
    def static(cls, size: Size) -> SizeRange:
        """The range that holds just `size`."""
        return cls(size, size, size)

    @classmethod
    def parse(cls, text: str) -> SizeRange:
        """``"320x240,1280x720,1920x1080"`` (or one size) -> `SizeRange`.

        Raises:
            ValueError: `text` is not of that form, or the sizes are not in order.
        """
        sizes = [Size.parse(part) for part in text.split(",")]
        if len(sizes) == 1:
            return cls.static(sizes[0])
        if len(sizes) != 3:
            raise ValueError(f"{text!r} must be one size or three: MIN,OPT,MAX")
        return cls(*sizes)

    @classmethod
    def of(cls, value: SizeRangeLike) -> SizeRange:
        """`value` as a `SizeRange`: itself, its text, one size, or three.

        Raises:
            ValueError: It is none of these, or the sizes are not in order.
        """
        if isinstance(value, SizeRange):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, (tuple, list)) and len(value) == 3:
            return cls(*map(Size.of, value))
        return cls.static(Size.of(value))

    @property
    def is_static(self) -> bool:
        """Whether one size alone is accepted."""
        return self.minimum == self.maximum

    def __contains__(self, size: Size) -> bool:
        return (
            self.minimum.width <= size.width <= self.maximum.width
            and self.minimum.height <= size.height <= self.maximum.height
        )

    def __str__(self) -> str:
        if self.is_static:
            return str(self.optimum)
        return f"{self.minimum},{self.optimum},{self.maximum}"


# What `derain-export --size any` makes: pictures and video of every usual size, upright
# ones and 4K included; engines are to be compiled for one of them.
ANY_SIZE = SizeRange(Size(32, 32), Size(1280, 720), Size(4096, 4096))

SizeRangeLike: TypeAlias = SizeRange | SizeLike | tuple[SizeLike, SizeLike, SizeLike]
