"""Rain over the frames of a clip, with what comes with it: splashes, and the night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.sizes import Size
from derain.core.synthetic.rain import RANGES, RainField, RainSettings, add_rain

Picture = NDArray[np.uint8]  # (H, W, 3) BGR

# Least and greatest value of every setting.
WEATHER_RANGES = {
    **RANGES,
    "splashes": (0.0, 200.0),
    "night": (0.0, 0.95),
    "light": (0.0, 255.0),
    "additive": (0.0, 1.0),
}
_LAMP_LIGHT = np.array([0.75, 0.9, 1.0], np.float32)  # BGR: warm
_AMBIENT = 0.1  # light on the rain beside the lamps
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What falls; `WEATHER_RANGES` holds the limits.

    Attributes:
        rain: The streaks and the veil.
        splashes: Drops that burst in a frame, for every 10,000 pixels.
        night: How much darker than by day; then rain is seen near lamps alone.
        light: Grey of the drops by day.
        additive: How much of what is behind a drop by day is seen through it, besides.
    """

    rain: RainSettings = field(default_factory=RainSettings)
    splashes: float = 0.0
    night: float = 0.0
    light: float = 255.0
    additive: float = 0.0


def weather_on_clip(
    clean: Sequence[Picture],
    times: Sequence[int],
    weather: Weather,
    random: np.random.Generator,
) -> tuple[list[Picture], list[Picture]]:
    """The frames of `clean` in one rain that falls on from frame to frame.

    Args:
        clean: Frames of one size.
        times: Their numbers: where one is left out, the rain has fallen further.
        weather: What falls.
        random: Gives the rain, splashes and lamps.

    Returns:
        The frames in the rain, and without: darker than `clean` at night.
    """
    height, width = clean[0].shape[:2]
    seed, first = int(random.integers(2**31)), int(random.integers(50))
    falling = RainField(Size(width, height), weather.rain, seed)
    light: NDArray[np.float32] | None = None
    if weather.night:
        light = _lamps(height, width, random)
        clean = [_at_night(frame, weather.night, light) for frame in clean]
    rainy = []
    for frame, time in zip(clean, times, strict=True):
        opacity = falling.opacity(first + time)
        if weather.splashes:
            splashes = _splashes(height, width, weather.splashes, random)
            opacity = opacity + splashes * (1.0 - opacity)
        if light is None:
            rain = add_rain(
                frame,
                opacity,
                weather.rain.haze,
                light=weather.light,
                additive=weather.additive,
            )
            rainy.append(rain)
        else:
            rainy.append(_lit_rain(frame, opacity * light))
    return rainy, list(clean)


def _splashes(
    height: int, width: int, density: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """Opacity of drops that burst: flat rings and blobs of a few pixels."""
    mask = np.zeros((height, width), np.uint8)
    scale = 1 << _SUBPIXEL_BITS
    for _ in range(random.poisson(density * height * width / 1e4)):
        centre = random.uniform(0, (width, height)) * scale
        radius = np.exp(random.uniform(np.log(0.6), np.log(4.0))) * scale
        cv2.ellipse(
            mask,
            (round(centre[0]), round(centre[1])),
            (round(radius), round(0.6 * radius)),
            0.0,
            180.0,
            360.0 if random.random() < 0.5 else 540.0,
            (random.uniform(50.0, 255.0),),
            1,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )
    return cast(NDArray[np.float32], mask.astype(np.float32) / np.float32(255.0))


def _lamps(height: int, width: int, random: np.random.Generator) -> NDArray[np.float32]:
    """How much light falls on each pixel, `(H, W)` in [0, 1]."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = np.full((height, width), _AMBIENT, np.float32)
    for _ in range(random.integers(1, 4)):
        cx, cy = random.uniform(-0.2, 1.2) * width, random.uniform(-0.3, 1.0) * height
        reach = random.uniform(0.15, 0.6) * max(height, width)
        light += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * reach**2))
    return np.minimum(light, np.float32(1.0))


def _at_night(frame: Picture, night: float, light: NDArray[np.float32]) -> Picture:
    kept = 1.0 - night * (1.0 - 0.5 * light[..., np.newaxis])
    return cast(Picture, np.rint(frame * kept.astype(np.float32)).astype(np.uint8))


def _lit_rain(frame: Picture, opacity: NDArray[np.float32]) -> Picture:
    picture = frame.astype(np.float32)
    picture += opacity[..., np.newaxis] * _LAMP_LIGHT * (255.0 - picture)
    return cast(Picture, np.rint(picture).astype(np.uint8))
