"""``test://rain``: rendered rain over moving pictures, a demo without a camera."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from urllib.parse import parse_qsl, urlsplit

from derain.runtime.errors import MediaError
from derain.runtime.rain import rainy_clip
from derain.runtime.sizes import Size
from derain.runtime.video.base import Frame, SourceInfo

DEFAULTS = {"size": "1280x720", "fps": "24", "seconds": "2", "seed": "0"}


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

    def close(self) -> None:
        """See `Source.close`."""


def open_test(uri: str, fps: Fraction | None = None) -> RainSource:
    """The clip that a URI such as ``test://rain?size=640x360&seconds=5`` describes.

    Raises:
        MediaError: The URI has another name, an unknown field or a senseless value.
    """
    parts = urlsplit(uri)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    form = "test://rain?" + "&".join(f"{k}={v}" for k, v in DEFAULTS.items())
    if parts.netloc + parts.path != "rain" or not fields.keys() <= DEFAULTS.keys():
        raise MediaError(f"{uri} is not of the form {form}")
    fields = DEFAULTS | fields
    try:
        rate = fps or Fraction(fields["fps"])
        frames = round(rate * Fraction(fields["seconds"]))
        if rate <= 0 or frames < 1:
            raise ValueError("fps and seconds must be greater than 0")
        return RainSource(Size.parse(fields["size"]), rate, frames, int(fields["seed"]))
    except (ValueError, ZeroDivisionError) as error:
        raise MediaError(f"{uri} is not of the form {form}: {error}") from error
