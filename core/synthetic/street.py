"""A made-up street that pans past the camera: pictures to rain on where there are none.

Every layer is drawn once, on a strip that closes on itself, and moves at the speed that
its distance asks for. The same size and seed give the same street.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.sizes import Size

Colour = tuple[float, float, float]  # BGR

_LINES = 480  # height of the picture that all lengths here are written for
_GROUND = 0.70  # where the houses stand, as a part of the height
_WALLS: tuple[Colour, ...] = (
    (72, 84, 150),
    (150, 190, 214),
    (128, 140, 146),
    (98, 150, 186),
    (150, 140, 112),
    (110, 118, 168),
    (178, 196, 200),
)
_ROOFS: tuple[Colour, ...] = ((58, 60, 92), (72, 70, 70), (60, 74, 104))
_CARS: tuple[Colour, ...] = (
    (60, 50, 150),
    (140, 92, 52),
    (190, 190, 186),
    (50, 52, 54),
)
_GLASS: Colour = (84, 70, 58)
_LIT: Colour = (120, 196, 244)


@dataclass(frozen=True, slots=True)
class _Strip:
    """One layer: `image` premultiplied by `alpha`, from line `top` down."""

    top: int
    image: NDArray[np.uint8]  # (h, period, 3) BGR
    alpha: NDArray[np.uint8] | None  # (h, period, 1); None is opaque
    speed: float  # pixels a frame

    def window(
        self, pixels: NDArray[np.uint8], frame: int, width: int
    ) -> NDArray[np.uint8]:
        """The `width` columns of `pixels` that are in view at `frame`."""
        period = pixels.shape[1]
        shift = (frame * self.speed) % period
        first, fraction = int(shift), shift - int(shift)
        columns = np.arange(first, first + width + 1) % period
        seen: NDArray[np.uint8] = pixels.take(columns, axis=1)
        if fraction < 1e-6:
            return seen[:, :-1]
        blended = cv2.addWeighted(
            seen[:, :-1], 1.0 - fraction, seen[:, 1:], fraction, 0.0
        )
        return cast(NDArray[np.uint8], blended.reshape(seen[:, :-1].shape))


class _Canvas:
    """A strip in the making; shapes that leave it at the right come in at the left."""

    def __init__(self, height: int, period: int) -> None:
        self.image = np.zeros((height, period, 3), np.uint8)
        self.mask = np.zeros((height, period), np.uint8)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill the polygon with the corners `points`, (x, y)."""
        period = self.image.shape[1]
        corners = np.asarray(points, np.float64)
        for turn in range(-1, 2):
            moved = corners + np.array([turn * period, 0.0])
            if moved[:, 0].max() < 0 or moved[:, 0].min() > period:
                continue
            fixed = np.round(moved * 16).astype(np.int32)
            cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, 4)
            cv2.fillPoly(self.mask, [fixed], (255,), cv2.LINE_AA, 4)

    def box(
        self, x: float, y: float, width: float, height: float, colour: Colour
    ) -> None:
        """Fill a box; (x, y) is its upper left corner."""
        right, bottom = x + width, y + height
        self.polygon([(x, y), (right, y), (right, bottom), (x, bottom)], colour)

    def disc(
        self, x: float, y: float, radius: float, colour: Colour, squash: float = 1.0
    ) -> None:
        """Fill a disc, or an ellipse of height `squash` times its width."""
        angle = np.linspace(0, 2 * np.pi, 18, endpoint=False)
        xs, ys = x + radius * np.cos(angle), y + squash * radius * np.sin(angle)
        self.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), colour)

    def grain(self, noise: NDArray[np.float32]) -> None:
        """Multiply the picture by ``1 + noise``."""
        grainy = self.image * (1.0 + noise[..., np.newaxis])
        self.image = grainy.clip(0, 255).astype(np.uint8)

    def strip(self, top: int, speed: float) -> _Strip:
        """The finished layer."""
        alpha = self.mask[..., np.newaxis]
        image = (self.image.astype(np.uint16) * alpha + 127) // 255
        return _Strip(top, image.astype(np.uint8), alpha, speed)


class Street:
    """A street, panning to the left."""

    def __init__(self, size: Size, seed: int = 0) -> None:
        """Build it.

        Args:
            size: Of the pictures.
            seed: Which street.
        """
        self.size = size
        self._scale = size.height / _LINES
        self._random = np.random.default_rng((seed, 0x57EE7))
        ground = round(_GROUND * size.height)
        pan = max(round(1.5 * self._scale), 1)  # whole pixels: nothing shimmers
        self._strips = [
            self._sky(0.25 * pan),
            self._houses(ground, pan),
            *self._roads(ground, pan),
            self._lamps(3 * pan),
            self._cars(7 * pan),
        ]

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame number `index`, `(H, W, 3)` uint8 BGR."""
        width = self.size.width
        picture = np.zeros((self.size.height, width, 3), np.uint8)
        for strip in self._strips:
            image = strip.window(strip.image, index, width)
            rows = picture[strip.top : strip.top + image.shape[0]]
            if strip.alpha is None:
                rows[...] = image
            else:
                alpha = strip.window(strip.alpha, index, width)
                behind = rows * (255 - alpha.astype(np.uint16))
                rows[...] = np.minimum(image + (behind + 127) // 255, 255)
        return picture

    def _period(self, times: float) -> int:
        return max(round(times * self.size.width), round(900 * self._scale), 8)

    def _noise(
        self, height: int, width: int, cell: float, stretch: float = 1.0
    ) -> NDArray[np.float32]:
        """Smooth noise of mean 0 and deviation near 1 that closes on itself in x."""
        rows = max(round(height / cell), 1) + 3
        columns = max(round(width / (cell * stretch)), 2)
        grid = self._random.normal(0.0, 1.3, (rows, columns)).astype(np.float32)
        border = 2
        grid = np.pad(grid, ((0, 0), (border, border)), mode="wrap")
        step = width / columns
        x, y = np.meshgrid(
            np.arange(width, dtype=np.float32) / step + border,
            np.arange(height, dtype=np.float32) / max(cell, 1e-3) + 1,
        )
        return cast(
            NDArray[np.float32],
            cv2.remap(grid, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        )

    def _sky(self, speed: float) -> _Strip:
        height, period = self.size.height, self._period(1.6)
        scale = self._scale
        down = np.linspace(0, 1, height)[:, None, None]
        sky = (1 - down) * np.array([176, 160, 146.0]) + down * np.array(
            [214, 208, 202.0]
        )
        clouds = sum(
            weight * self._noise(height, period, cell * scale, 2.5)
            for cell, weight in ((90, 9.0), (40, 5.0), (16, 2.5))
        )
        canvas = _Canvas(height, period)
        canvas.image = (sky + np.asarray(clouds)[..., None]).clip(0, 255).astype("u1")
        ridge = self._noise(1, period, 120 * scale)[0]
        ridge += 0.3 * self._noise(1, period, 24 * scale)[0]
        line = (0.46 + 0.035 * ridge) * height
        below = np.arange(height)[:, None] > line
        canvas.image[below] = (0.45 * canvas.image[below] + (74, 80, 66)).astype("u1")
        canvas.grain(0.02 * self._noise(height, period, 2.0 * scale))
        return _Strip(0, canvas.image, None, speed)

    def _houses(self, ground: int, speed: float) -> _Strip:
        """Houses and trees, and below the ground line their reflection."""
        period, random, scale = self._period(2.2), self._random, self._scale
        canvas = _Canvas(self.size.height, period)
        x = 0.0
        while x < period - 40 * scale:
            width = min(random.uniform(90, 170) * scale, period - x)
            if random.random() < 0.82:
                self._house(canvas, x, ground, width)
            x += width + random.choice([0.0, 0.0, 24.0]) * scale
        canvas.grain(0.05 * self._noise(self.size.height, period, 1.6 * scale))
        for _ in range(max(round(period / (150 * scale)), 1)):
            self._tree(canvas, random.uniform(0, period), ground)
        depth = min(self.size.height - ground, ground)
        for plane in (canvas.image, canvas.mask):
            if depth < 1:
                continue
            mirrored = plane[ground - depth : ground][::-1]
            plane[ground : ground + len(mirrored)] = cv2.blur(
                np.ascontiguousarray(mirrored),
                (max(round(3 * scale), 1), max(round(26 * scale), 1)),
            )
        return canvas.strip(0, speed)

    def _house(self, canvas: _Canvas, x: float, ground: int, width: float) -> None:
        random, scale = self._random, self._scale
        wall = np.array(_WALLS[random.integers(len(_WALLS))]) * random.uniform(
            0.75, 1.1
        )
        height = random.uniform(130, 215) * scale
        top = ground - height
        roof = _ROOFS[random.integers(len(_ROOFS))]
        colour = cast(Colour, tuple(wall.tolist()))
        canvas.box(x, top, width, height, colour)
        course = 5 * scale
        if course >= 3 and random.random() < 0.6:  # bricks, where they can be seen
            joint = cast(Colour, tuple((wall * 0.86).tolist()))
            for row in range(int(height / course)):
                y = top + row * course
                canvas.box(x, y, width, max(0.8 * scale, 1), joint)
                for brick in np.arange(
                    x + (row % 2) * 5 * scale, x + width, 10 * scale
                ):
                    canvas.box(float(brick), y, max(0.6 * scale, 1), course, joint)
        if random.random() < 0.6:
            peak = top - random.uniform(28, 60) * scale
            eave = 6 * scale
            canvas.polygon(
                [(x - eave, top), (x + width / 2, peak), (x + width + eave, top)], roof
            )
            canvas.box(
                x + 0.7 * width,
                peak,
                12 * scale,
                top - peak - 12 * scale,
                (64, 70, 104),
            )
        else:
            canvas.box(
                x - 3 * scale, top - 8 * scale, width + 6 * scale, 12 * scale, roof
            )
        columns = max(int(width / (38 * scale)), 1)
        floors = max(int(height / (58 * scale)), 1)
        for floor in range(floors):
            for column in range(columns):
                left = x + (column + 0.5) * width / columns - 10 * scale
                upper = top + (floor + 0.24) * height / floors
                door = floor == floors - 1 and column == columns // 2
                self._window(canvas, left, upper, ground if door else None)

    def _window(self, canvas: _Canvas, x: float, y: float, ground: int | None) -> None:
        """A window, or a door that reaches down to `ground`."""
        scale, random = self._scale, self._random
        width, height = 20 * scale, 30 * scale
        frame: Colour = (206, 212, 214)
        if ground is not None:
            canvas.box(x, y, width, ground - y, frame)
            tone = cast(Colour, tuple(random.uniform(30, 110, 3).tolist()))
            edge = 2.5 * scale
            canvas.box(x + edge, y + edge, width - 2 * edge, ground - y - edge, tone)
            return
        canvas.box(
            x - 2 * scale, y - 2 * scale, width + 4 * scale, height + 4 * scale, frame
        )
        lit = random.random() < 0.22
        canvas.box(x, y, width, height, _LIT if lit else _GLASS)
        if not lit:  # the sky in the panes
            canvas.polygon(
                [(x, y), (x + 0.7 * width, y), (x, y + 0.8 * height)], (130, 118, 106)
            )
        bar = max(1.6 * scale, 1)
        canvas.box(x + width / 2 - bar / 2, y, bar, height, frame)
        canvas.box(x, y + 0.4 * height, width, bar, frame)
        canvas.box(
            x - 4 * scale, y + height, width + 8 * scale, 4 * scale, (150, 156, 160)
        )

    def _tree(self, canvas: _Canvas, x: float, ground: int) -> None:
        random, scale = self._random, self._scale
        tall = random.uniform(110, 190) * scale
        trunk = 5 * scale
        canvas.polygon(
            [
                (x - trunk, ground),
                (x + trunk, ground),
                (x + trunk / 2, ground - 0.6 * tall),
                (x - trunk / 2, ground - 0.6 * tall),
            ],
            (40, 52, 64),
        )
        hue = random.uniform(0.8, 1.25, 3)
        for _ in range(230):
            angle, away = random.uniform(0, 2 * np.pi), random.uniform(0, 1) ** 0.6
            dx = 0.36 * tall * away * np.cos(angle)
            dy = 0.34 * tall * away * np.sin(angle)
            light = 0.75 - 0.9 * dy / tall + random.uniform(-0.25, 0.25)
            leaf = np.array([42, 92, 62]) * hue * light
            colour = cast(Colour, tuple(leaf.clip(8, 255).tolist()))
            radius = random.uniform(2.5, 7) * scale
            canvas.disc(x + dx, ground - 0.68 * tall + dy, radius, colour, 0.8)

    def _roads(self, ground: int, speed: float) -> list[_Strip]:
        """Pavement and road in bands, each nearer and quicker than the one above."""
        height, strips = self.size.height, []
        edges = [ground, ground + 0.07 * height, ground + 0.15 * height, height]
        tones: tuple[Colour, ...] = ((142, 144, 146), (84, 82, 80), (76, 74, 73))
        for band, tone in enumerate(tones):
            top, bottom = round(edges[band]), round(edges[band + 1])
            if bottom <= top:
                continue
            tall, period = bottom - top, self._period(1.5 + 0.4 * band)
            canvas = _Canvas(tall, period)
            canvas.image[:] = np.array(tone, np.uint8)
            if band == 0:  # paving stones, then the kerb
                for x in range(0, period, max(round(22 * self._scale), 2)):
                    canvas.box(x, 0, max(self._scale, 1), tall, (120, 122, 124))
                canvas.box(0, 0.82 * tall, period, 0.18 * tall, (176, 178, 178))
            elif band == 2:
                dash, gap = 90 * self._scale, 150 * self._scale
                for start in np.arange(0, period - dash, max(gap, 1)).tolist():
                    canvas.box(start, 0.3 * tall, dash, 0.07 * tall, (196, 202, 204))
            cell = (1.5 + 0.7 * band) * self._scale
            canvas.grain(0.10 * self._noise(tall, period, max(cell, 0.5), 1.6))
            wet = self._noise(tall, period, (10 + 8 * band) * self._scale, 4.0)
            canvas.mask = (255 * (0.80 - 0.16 * wet).clip(0.45, 0.97)).astype(np.uint8)
            strips.append(canvas.strip(top, speed * (1, 4 / 3, 2)[band]))
        return strips

    def _lamps(self, speed: float) -> _Strip:
        """Lamp posts on the near side, each with its halo."""
        scale, period = self._scale, self._period(2.6)
        foot = round(0.93 * self.size.height)
        canvas = _Canvas(max(foot, 1), period)
        spacing = 520 * scale
        halo = np.zeros((max(foot, 1), period), np.float32)
        radius = max(46 * scale, 1)
        rows, columns = np.mgrid[0 : max(foot, 1), 0:period].astype(np.float32)
        for x in np.arange(0.25 * spacing, period, max(spacing, 1)).tolist():
            y = 0.17 * foot
            canvas.box(x - 3 * scale, y, 6 * scale, foot - y, (46, 48, 46))
            canvas.box(
                x - 6 * scale, foot - 36 * scale, 12 * scale, 36 * scale, (40, 42, 40)
            )
            canvas.box(
                x - 3 * scale, y - 3 * scale, 40 * scale, 5 * scale, (46, 48, 46)
            )
            canvas.disc(
                x + 36 * scale, y + 5 * scale, 11 * scale, (206, 240, 255), 0.55
            )
            away = np.hypot(columns - x - 36 * scale, rows - y - 5 * scale) / radius
            halo += 0.55 * np.exp(-2.0 * away**1.4)
        strip = canvas.strip(0, speed)
        assert strip.alpha is not None
        glow = (halo * (1 - strip.alpha[..., 0] / 255))[..., None] * np.array(
            [150, 205, 240]
        )
        lit = (strip.image + glow).clip(0, 255).astype(np.uint8)
        return _Strip(0, lit, strip.alpha, speed)

    def _cars(self, speed: float) -> _Strip:
        """Cars that come the other way."""
        scale, random = self._scale, self._random
        period = self._period(5.0)
        tall = max(round(0.16 * self.size.height), 1)
        top = min(round(0.76 * self.size.height), self.size.height - 1)
        tall = min(tall, self.size.height - top)
        canvas = _Canvas(tall, period)
        for number in range(3):
            x = (number + 0.35 + random.uniform(0, 0.4)) * period / 3
            paint = _CARS[random.integers(len(_CARS))]
            low = tall - 12 * scale
            canvas.disc(
                x + 70 * scale, tall - 4 * scale, 74 * scale, (34, 34, 34), 0.05
            )
            cabin = [(30, 30), (48, 4), (96, 4), (118, 30)]
            for part, colour in (
                (cabin, paint),
                ([(38, 29), (52, 8), (92, 8), (108, 29)], _GLASS),
            ):
                canvas.polygon(
                    [(x + a * scale, low - (52 - b) * scale) for a, b in part], colour
                )
            canvas.box(x + 70 * scale, low - 48 * scale, 4 * scale, 26 * scale, paint)
            body = [(2, 34), (10, 28), (128, 28), (142, 38), (144, 52), (0, 52)]
            canvas.polygon(
                [(x + a * scale, low - (52 - b) * scale) for a, b in body], paint
            )
            canvas.box(x, low - 15 * scale, 7 * scale, 7 * scale, (210, 244, 255))
            canvas.box(
                x + 138 * scale, low - 15 * scale, 6 * scale, 7 * scale, (60, 50, 210)
            )
            for wheel in (30, 114):
                for radius, colour in ((13, (26, 26, 26)), (6, (150, 150, 150))):
                    canvas.disc(
                        x + wheel * scale,
                        low - 1 * scale,
                        radius * scale,
                        cast(Colour, colour),
                    )
        return canvas.strip(top, speed)
