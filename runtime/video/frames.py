"""What passes between sources, the network and sinks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from derain.core.sizes import Size
from derain.runtime.video.colour import BT709, Colour

DEFAULT_FPS = Fraction(25)  # of pictures, and of videos that do not say
TIMEOUT_S = 5.0  # without a frame, until a live source counts as lost


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a clip.

    Attributes:
        image: `(H, W, 3)` uint8 BGR, upright.
        index: Position in the source, from 0.
        time: When it is shown, in seconds; a multiple of ``SourceInfo.time_base``.
        duration: For how long, in seconds; 0 where the source does not say.
        name: File name of a picture; empty for a frame of a video.
        captured: When a live source took it, by ``time.monotonic()`` in seconds; None
            for a file, whose frames have no age.
        rainy: The picture before the network, like `image`, for sinks that show both;
            None in a frame that comes out of a source.
        passed: Whether `image` is the rainy picture itself: the gate found it dry, or
            there was no time for the network.
        signal: False for the stand-in that sinks get while a live source is lost.
        losses: How often its live source had been lost before.
    """

    image: NDArray[np.uint8]
    index: int
    time: Fraction
    duration: Fraction = Fraction(0)
    name: str = ""
    captured: float | None = None
    rainy: NDArray[np.uint8] | None = None
    passed: bool = False
    signal: bool = True
    losses: int = 0

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
        name: What it is called in messages, without credentials; empty: by the whole
            `description`.
        time_base: The unit of every frame's time, in seconds.
        fps: Average frame rate, in frames per second.
        size: Size of the frames; None where each may have its own.
        frames: How many there are; None if unknown. For some containers an estimate.
        pixel_aspect: Width of a pixel divided by its height.
        colour: How a video sink should code the colours.
        audio: Video file whose audio belongs to the frames.
        files: What is read, and must not be written to.
        live: Whether frames come when they like and the newest counts, as from a
            camera; a file waits for its reader, and every frame counts.
        endless: Whether the end of a live source is a loss, as of a camera.
        timeout_s: How long a live source may send no frame until it counts as lost, in
            seconds; None: for ever.
    """

    description: str
    name: str = ""
    time_base: Fraction
    fps: Fraction
    size: Size | None = None
    frames: int | None = None
    pixel_aspect: Fraction = Fraction(1)
    colour: Colour = BT709
    audio: Path | None = None
    files: tuple[Path, ...] = ()
    live: bool = False
    endless: bool = False
    timeout_s: float | None = None


class Source(Protocol):
    """Where frames come from, one after the other, in the thread that asks for them.

    It is opened in one thread, and then read and closed in another one, which may wait
    in a library: `derain.runtime.pipeline.capture.Capture` is that thread, and knows
    what to do when no frame comes. Only `interrupt` is called from outside.

    A live source (``info.live``) gives every frame its `Frame.captured` and keeps no
    frames of its own longer than it must. When its connection is gone, it raises
    `SourceLostError`, is closed, and is opened again as a new object. An end without an
    error is an end, unless it is ``info.endless``.
    """

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames in order, once.

        A frame's image belongs to its reader: the source does not write to it again.

        Raises:
            SourceLostError: A live source has stopped; it is worth opening again.
            MediaError: A frame cannot be read; the ones before it were good.
        """
        ...

    def interrupt(self) -> None:
        """Make a thread that waits for a frame return, if it can; from any thread.

        It may come after `close`, and more than once.
        """
        ...

    def close(self) -> None:
        """Free files and decoders. Calling it twice is harmless."""
        ...


class Sink(Protocol):
    """Where frames go; ``with contextlib.closing(sink):`` keeps what was written.

    A sink is checked when it is opened and touches the disk at the first `write`, so
    that a run that fails before its first frame leaves nothing behind. It is written
    to, finished and closed in a thread of its own, so it may take its time.
    """

    @property
    def name(self) -> str:
        """What the user calls it, without credentials."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether frames that were written to it can be seen later.

        Behind a live source, a sink that keeps nothing (a window, a stream, a page) is
        given the newest frame, and one that keeps them a queue.
        """
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
        """Take note that the run has come to its end: the result is whole.

        That is the end of the source, a limit, or of a live source that somebody stops
        it. The rest of the source's audio may follow.

        Raises:
            MediaError: That cannot be written.
        """
        ...

    def close(self) -> None:
        """Complete the files with the frames written so far; harmless when repeated.

        Without `finish`, the result is not whole, and does not get the name that was
        asked for.

        Raises:
            MediaError: They cannot be completed.
        """
        ...
