"""``test://rain``: rendered rain over moving pictures, a demo without a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from derain.core import numbers
from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.core.synthetic.rain import rainy_clip
from derain.runtime.video.frames import TIMEOUT_S, Frame, Source, SourceInfo
from derain.runtime.video.uris import parsed, split_fields

DEFAULTS = {"size": "1280x720", "fps": "24", "seconds": "2", "seed": "0", "live": "0"}
_FORM = "test://rain"
MOST_SECONDS = 86_400  # of a clip: a day


class RainSource:
    """Frames of a rendered rainy clip; the same `seed` gives the same clip."""

    def __init__(self, size: Size, fps: Fraction, frames: int, seed: int) -> None:
        self._seed = seed
        self.info = SourceInfo(
            description=f"rendered rain, {size}, {frames} frames",
            time_base=1 / fps,
            fps=fps,
            size=size,
            frames=frames,
        )

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        size, frames, step = self.info.size, self.info.frames, self.info.time_base
        assert size is not None  # set in __init__
        assert frames is not None
        for index, (rainy, _) in enumerate(rainy_clip(size, frames, self._seed)):
            yield Frame(rainy, index, index * step, step)

    def interrupt(self) -> None:
        """See `Source.interrupt`: nothing here waits for long."""

    def close(self) -> None:
        """See `Source.close`."""


class LiveRainSource:
    """The clip of `count` frames again and again, each frame at its time.

    It is rendered once, at its own pace, and then comes from memory, so that it leaves
    the processor to the network: 133 MB for two seconds of 1280x720.
    """

    def __init__(self, info: SourceInfo, size: Size, count: int, seed: int) -> None:
        self.info = info
        self._size = size
        self._count = count
        self._seed = seed

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        clip: list[NDArray[np.uint8]] = []
        rendered = rainy_clip(self._size, self._count, self._seed)
        step, count = self.info.time_base, self._count
        index = -1
        started = time.monotonic()
        while True:
            if len(clip) < count:
                clip.append(next(rendered)[0])
            # Where there was no time for a frame, a camera would have lost it.
            index = max(index + 1, int((time.monotonic() - started) / step))
            time.sleep(max(0.0, started + index * step - time.monotonic()))
            image = clip[-1] if len(clip) < count else clip[index % count]
            captured = time.monotonic()
            yield Frame(image.copy(), index, index * step, step, captured=captured)

    def interrupt(self) -> None:
        """See `Source.interrupt`: nothing here waits for long."""

    def close(self) -> None:
        """See `Source.close`."""


def open_test(uri: str, fps: Fraction | None = None) -> Source:
    """The clip that a URI such as ``test://rain?size=640x360&seconds=5`` describes.

    With ``live=1`` it plays for ever, like a camera: each frame at its time.

    Raises:
        MediaError: The URI has another name, an unknown field or a senseless value.
    """
    place, fields = split_fields(uri, _FORM, DEFAULTS)
    if place != _FORM:
        form = _FORM + "?" + "&".join(f"{k}={v}" for k, v in DEFAULTS.items())
        raise MediaError(f"{uri} is not of the form {form}")

    def parse() -> tuple[Size, Fraction, int, int, bool]:
        rate = fps or numbers.rate(fields["fps"])
        seconds = numbers.in_range(numbers.number(fields["seconds"]), 0, MOST_SECONDS)
        frames = round(rate * Fraction(seconds).limit_denominator(10**6))
        if frames < 1:
            raise ValueError("fps and seconds are less than one frame together")
        if fields["live"] not in ("0", "1"):
            raise ValueError("live must be 0 or 1")
        seed = numbers.whole(fields["seed"])
        numbers.in_range(seed, 0, 2**32 - 1)
        size = Size.parse(fields["size"])
        return size, rate, frames, seed, fields["live"] == "1"

    size, rate, frames, seed, live = parsed(uri, _FORM, DEFAULTS, parse)
    if not live:
        return RainSource(size, rate, frames, seed)
    info = SourceInfo(
        description=f"rendered rain, {size}, live",
        name=uri,
        time_base=1 / rate,
        fps=rate,
        size=size,
        live=True,
        timeout_s=TIMEOUT_S,
    )
    return LiveRainSource(info, size, frames, seed)
