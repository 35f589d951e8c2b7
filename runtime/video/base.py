"""What passes between sources, the network and sinks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from derain.runtime.sizes import Size
from derain.runtime.video.colour import BT709, Colour

DEFAULT_FPS = Fraction(25)  # of pictures, and of videos that do not say


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a clip.

    Attributes:
        image: `(H, W, 3)` uint8 BGR, upright.
        index: Position in the source, from 0.
        time: When it is shown, in seconds; a multiple of ``SourceInfo.time_base``.
        duration: For how long, in seconds; 0 where the source does not say.
        name: File name of a picture; empty for a frame of a video.
    """

    image: NDArray[np.uint8]
    index: int
    time: Fraction
    duration: Fraction = Fraction(0)
    name: str = ""

    @property
    def size(self) -> Size:
        """Width and height of `image`."""
        return Size(self.image.shape[1], self.image.shape[0])

    def __str__(self) -> str:
        return self.name or f"frame {self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What a source says about itself before the first frame.

    Attributes:
        description: One line for people.
        time_base: The unit of every frame's time, in seconds.
        fps: Average frame rate, in frames per second.
        size: Size of the frames; None where each may have its own.
        frames: How many there are; None if unknown. For some containers an estimate.
        pixel_aspect: Width of a pixel divided by its height.
        colour: How a video sink should code the colours.
        audio: Video file whose audio belongs to the frames.
        files: What is read, and must not be written to.
    """

    description: str
    time_base: Fraction
    fps: Fraction
    size: Size | None = None
    frames: int | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: Colour = BT709
    audio: Path | None = None
    files: tuple[Path, ...] = ()


class Source(Protocol):
    """Where frames come from; ``with contextlib.closing(source):`` frees it."""

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames in order, once.

        Raises:
            MediaError: A frame cannot be read; the ones before it were good.
        """
        ...

    def close(self) -> None:
        """Free files and decoders. Calling it twice is harmless."""
        ...


class Sink(Protocol):
    """Where frames go; ``with contextlib.closing(sink):`` keeps what was written.

    A sink is checked when it is opened and touches the disk at the first `write`, so
    that a run that fails before its first frame leaves nothing behind.
    """

    @property
    def description(self) -> str:
        """Where the frames are kept; empty if they are not."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the result, a sentence each."""
        ...

    def write(self, frame: Frame) -> None:
        """Take the next frame; its image is not kept after the call.

        Raises:
            MediaError: It cannot be written. Close the sink and do not write again.
        """
        ...

    def finish(self) -> None:
        """Take note that the source has ended: the rest of its audio may follow.

        Raises:
            MediaError: That cannot be written.
        """
        ...

    def close(self) -> None:
        """Complete the files with the frames written so far; harmless when repeated.

        Raises:
            MediaError: They cannot be completed.
        """
        ...
