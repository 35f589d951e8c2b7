"""Rain rendered over pictures and clips: seeded, coherent from frame to frame.

A picture of rain is a few layers of streaks at different distances under a thin veil.
A drop crosses many lines while the shutter is open, so its streak's length and its
speed are one thing: it falls ``length / shutter`` between two frames. Far layers hold
more, shorter, thinner and fainter streaks. Light adds up: a streak is never darker than
what is behind it.

Lengths are in pixels of a picture 480 lines high; `RainSettings.scaled` fits them to
another height. Streaks and veil as in Garg and Nayar, "Photorealistic Rendering of Rain
Streaks", 2006, much simplified.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.errors import ShapeError
from derain.core.sizes import Size
from derain.core.synthetic.street import Street

LINES = 480  # height of the picture that the presets are written for
AIRLIGHT = 200.0  # grey of the veil: an overcast sky
_SUBPIXEL_BITS = 4
_SHADES = 4  # brightness classes in a layer: one drawing call each

# Least and greatest value of every setting.
RANGES = {
    "angle_degrees": (-60.0, 60.0),
    "angle_spread_degrees": (0.0, 20.0),
    "length_px": (1.0, 400.0),
    "width_px": (0.2, 20.0),
    "density": (0.0, 400.0),
    "layers": (1, 8),
    "blur": (0.0, 1.0),
    "brightness": (0.0, 1.0),
    "haze": (0.0, 0.9),
    "shutter": (0.05, 1.0),
    "tail": (0.0, 4.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RainSettings:
    """What the rain looks like; `RANGES` holds the limits.

    Attributes:
        angle_degrees: Mean direction from the vertical; positive falls to the right.
        angle_spread_degrees: Standard deviation of the direction between drops.
        length_px: Mean length of the nearest streaks.
        width_px: Mean width of the nearest streaks; below 1 they get fainter.
        density: Streaks for every 10,000 pixels, all layers together.
        layers: Depth layers, the farthest at four times the distance of the nearest.
        blur: How far a streak's ends fade out, as a part of its length.
        brightness: Opacity of the nearest streaks.
        haze: Opacity of the veil.
        shutter: Part of the time between two frames that the shutter is open.
        tail: How unlike in brightness drops of one layer are: from 1 to 0.4 at 0; the
            larger, the more of them are faint and the fewer bright.
    """

    angle_degrees: float = 6.0
    angle_spread_degrees: float = 1.5
    length_px: float = 36.0
    width_px: float = 1.6
    density: float = 50.0
    layers: int = 3
    blur: float = 0.4
    brightness: float = 0.55
    haze: float = 0.04
    shutter: float = 0.5
    tail: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least, most = RANGES[field.name]
            if not least <= value <= most:  # NaN too
                raise ValueError(
                    f"{field.name} is {value}, wanted {least:g} to {most:g}"
                )

    def scaled(self, factor: float) -> RainSettings:
        """The same rain in a picture `factor` times as large.

        Lengths stay inside `RANGES`.
        """

        def fit(name: str, value: float) -> float:
            least, most = RANGES[name]
            return min(max(value, least), most)

        return replace(
            self,
            length_px=fit("length_px", self.length_px * factor),
            width_px=fit("width_px", self.width_px * factor),
            density=fit("density", self.density / factor**2),
        )


PRESETS = {
    "light": RainSettings(
        length_px=24, width_px=1.3, density=25, brightness=0.5, haze=0.0, layers=2
    ),
    "moderate": RainSettings(),
    "heavy": RainSettings(
        angle_degrees=10,
        length_px=52,
        width_px=2.0,
        density=100,
        layers=4,
        brightness=0.6,
        haze=0.1,
    ),
    "downpour": RainSettings(
        angle_degrees=-14,
        angle_spread_degrees=2.5,
        length_px=70,
        width_px=2.4,
        density=220,
        layers=5,
        brightness=0.65,
        haze=0.2,
    ),
}


@dataclass(frozen=True, slots=True)
class _Layer:
    """The drops at one distance, one row of `drops` each."""

    start: NDArray[np.float64]  # distance fallen at frame 0
    entry: NDArray[np.float64]  # column at which it enters, as a part of the span
    speed: NDArray[np.float64]  # distance a frame
    length: NDArray[np.float64]
    slope: NDArray[np.float64]  # columns a line
    shade: NDArray[np.intp]
    width_px: float
    opacity: float
    blur_px: float


class RainField:
    """The streaks of one rain, at any frame; the same arguments give the same rain."""

    def __init__(self, size: Size, settings: RainSettings, seed: int) -> None:
        """Scatter the drops.

        Args:
            size: Size of the pictures.
            settings: What the rain looks like.
            seed: Any integer that is not negative.
        """
        self.size = size
        self.settings = settings
        self._slope = math.tan(math.radians(settings.angle_degrees))
        self._layers = [
            self._scatter(depth, share, np.random.default_rng((seed, index)))
            for index, (depth, share) in enumerate(_depths(settings.layers))
        ]

    def _scatter(
        self, depth: float, share: float, random: np.random.Generator
    ) -> _Layer:
        settings = self.settings
        length_px = max(settings.length_px / depth, 1.0)
        reach = self.size.height + 2 * length_px
        area = reach * self._span(length_px)
        count = random.poisson(settings.density * share * area / 1e4)
        variation = np.exp(random.normal(0.0, 0.3, count)).clip(0.5, 2.0)
        angle = random.normal(
            settings.angle_degrees, settings.angle_spread_degrees, count
        )
        return _Layer(
            start=random.uniform(0.0, reach, count),
            entry=random.uniform(0.0, 1.0, count),
            speed=length_px / settings.shutter * (0.75 + 0.25 * variation),
            length=length_px * variation,
            slope=np.tan(np.radians(angle.clip(-75.0, 75.0))),
            shade=random.integers(0, _SHADES, count),
            width_px=settings.width_px / depth,
            opacity=settings.brightness / math.sqrt(depth),
            blur_px=settings.blur * length_px,
        )

    def _span(self, length_px: float) -> float:
        """How many columns drops enter at, so that every corner is reached."""
        reach = self.size.height + 2 * length_px
        return self.size.width + abs(self._slope) * reach + 2 * length_px

    def opacity(self, frame: int = 0) -> NDArray[np.float32]:
        """How much of the light at each pixel comes from drops at `frame`.

        Returns:
            `(H, W)` float32 in [0, 1].
        """
        clear = np.ones((self.size.height, self.size.width), np.float32)
        for layer in self._layers:
            if layer.start.size:
                clear *= 1.0 - self._draw(layer, frame)
        return 1.0 - clear

    def _draw(self, layer: _Layer, frame: int) -> NDArray[np.float32]:
        length_px = float(np.mean(layer.length))
        reach = self.size.height + 2 * float(np.max(layer.length))
        fallen = layer.start + frame * layer.speed
        turn = np.floor(fallen / reach)  # each time round, it enters somewhere else
        y = fallen - turn * reach - reach + self.size.height + layer.length
        span = self._span(length_px)
        entry = (layer.entry + turn * 0.6180339887) % 1.0 * span
        left = -length_px - max(self._slope, 0.0) * reach
        x = left + entry + layer.slope * (y + length_px)
        flat = layer.length / np.hypot(1.0, layer.slope)
        head = np.stack([x, y], axis=-1)
        tail = np.stack([x - layer.slope * flat, y - flat], axis=-1)
        lines = np.stack([tail, head], axis=1) * (1 << _SUBPIXEL_BITS)
        inside = (y > -1) & (y - flat < self.size.height + 1)
        mask = np.zeros((self.size.height, self.size.width), np.uint8)
        thin = min(layer.width_px, 1.0)
        even = 1.0 - 0.6 * np.arange(_SHADES) / (_SHADES - 1)
        shades = even ** (1.0 + self.settings.tail)
        for shade in range(_SHADES):
            chosen = np.round(lines[inside & (layer.shade == shade)]).astype(np.int32)
            cv2.polylines(
                mask,
                list(chosen),
                False,
                255.0 * thin * shades[shade],
                max(round(layer.width_px), 1),
                cv2.LINE_AA,
                _SUBPIXEL_BITS,
            )
        kernel = _motion_kernel(layer.blur_px, self.settings.angle_degrees)
        blurred = cv2.filter2D(mask, -1, kernel) if kernel.size > 1 else mask
        if layer.width_px > 2.0:  # near drops are out of focus
            blurred = cv2.GaussianBlur(blurred, (0, 0), layer.width_px / 4)
        return blurred.astype(np.float32) * np.float32(layer.opacity / 255.0)


def _depths(layers: int) -> list[tuple[float, float]]:
    """Distance and share of the drops of each layer, the nearest first."""
    depths = [4.0 ** (index / max(layers - 1, 1)) for index in range(layers)]
    return [(depth, depth / sum(depths)) for depth in depths]


def _motion_kernel(length_px: float, angle_degrees: float) -> NDArray[np.float32]:
    """A line of `length_px` through the middle of a square kernel, of sum 1."""
    half = round(length_px / 2)
    if half < 1:
        return np.ones((1, 1), np.float32)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    slope = math.tan(math.radians(angle_degrees))
    dy = half / max(abs(slope), 1.0)
    dx = slope * dy
    scale = 1 << _SUBPIXEL_BITS
    ends = [
        (round((half + sign * dx) * scale), round((half + sign * dy) * scale))
        for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], (255,), 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    weights = kernel.astype(np.float32)
    return cast(NDArray[np.float32], weights / weights.sum())


def add_rain(
    clean: NDArray[np.uint8],
    opacity: NDArray[np.float32],
    haze: float,
    *,
    light: float = 255.0,
    additive: float = 0.0,
) -> NDArray[np.uint8]:
    """`clean` behind streaks of the given `opacity` and a veil.

    Args:
        clean: `(H, W, 3)` uint8 BGR.
        opacity: `(H, W)` float32 in [0, 1], as `RainField.opacity` makes it.
        haze: Opacity of the veil.
        light: Grey of a drop, 0 to 255. What is brighter behind it stays as it is.
        additive: 0 where a drop hides what is behind it, as much as it is opaque; 1
            where its light is added to all of that.
    """
    picture = clean.astype(np.float32)
    picture += haze * (AIRLIGHT - picture)
    gain = np.maximum(light - (1.0 - additive) * picture, 0.0)
    picture += opacity[..., np.newaxis] * gain
    return np.rint(np.minimum(picture, 255.0)).astype(np.uint8)


def render_rain(
    clean: NDArray[np.uint8],
    settings: RainSettings = PRESETS["moderate"],
    seed: int = 0,
    *,
    frame: int = 0,
) -> NDArray[np.uint8]:
    """`clean` in the rain.

    Args:
        clean: `(H, W, 3)` uint8 BGR.
        settings: What the rain looks like, in pixels of this picture.
        seed: Which rain; the same seed gives the same.
        frame: Which frame of that rain.

    Raises:
        ShapeError: `clean` is of another shape or dtype.
    """
    if clean.ndim != 3 or clean.shape[2] != 3 or clean.dtype != np.uint8:
        raise ShapeError(
            f"picture: got {clean.shape} {clean.dtype}, wanted (H, W, 3) uint8 BGR"
        )
    field = RainField(Size(clean.shape[1], clean.shape[0]), settings, seed)
    return add_rain(clean, field.opacity(frame), settings.haze)


def rain_on_clip(
    clean: Iterable[NDArray[np.uint8]],
    settings: RainSettings = PRESETS["moderate"],
    seed: int = 0,
) -> Iterator[NDArray[np.uint8]]:
    """The frames of `clean`, all of one size, in one rain that falls through them."""
    field: RainField | None = None
    for index, frame in enumerate(clean):
        size = Size(frame.shape[1], frame.shape[0])
        if field is None:
            field = RainField(size, settings, seed)
        elif size != field.size:
            raise ShapeError(f"frame {index} is {size}, the others are {field.size}")
        yield add_rain(frame, field.opacity(index), settings.haze)


def rainy_clip(
    size: Size, frames: int, seed: int = 0
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """A clip of rain over a made-up street: the demonstration without a camera.

    Args:
        size: Of the frames.
        frames: How many.
        seed: Which street in which rain.

    Yields:
        A rainy frame and the same without rain, `(H, W, 3)` uint8 BGR.
    """
    street = Street(size, seed)
    settings = PRESETS["heavy"].scaled(size.height / LINES)
    field = RainField(size, settings, seed)
    for index in range(frames):
        clean = street.frame(index)
        yield add_rain(clean, field.opacity(index), settings.haze), clean
