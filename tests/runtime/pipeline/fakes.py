"""A camera, a screen, and what they have in common."""

import time
from collections import deque
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from derain.core.errors import SourceLostError, StateError
from derain.core.sizes import Size, SizeRange
from derain.runtime.video.frames import Frame, SourceInfo

SECONDS = 120  # far more than any of this takes
SIZE = Size(64, 48)
TICK = Fraction(1, 1000)


class Camera:
    """A live source of `images`, each after `wait()`; then what `end` says."""

    def __init__(self, images, wait=lambda: None, end=None):
        self.images, self.wait, self.end = images, wait, end
        self.closed = 0
        self.info = SourceInfo(
            description="camera",
            time_base=TICK,
            fps=Fraction(30),
            size=SIZE,
            live=True,
        )

    def __iter__(self):
        for index, image in enumerate(self.images):
            self.wait()
            yield Frame(image, index, index * TICK, captured=time.monotonic())
        if self.end is not None:
            raise self.end

    def interrupt(self):
        pass

    def close(self):
        self.closed += 1


class Screen:
    """A sink that keeps nothing but notes."""

    notes = ()

    def __init__(self, before=lambda frame: None, name="window:", keeps=False):
        self.frames, self.before, self.name, self.keeps = [], before, name, keeps
        self.closed = self.finished = 0

    def write(self, frame):
        self.before(frame)
        self.frames.append(frame)

    def finish(self):
        self.finished += 1

    def close(self):
        self.closed += 1


def lost():
    return SourceLostError("camera sent nothing for 5 s")


def adds_up(statistics):
    """Whether every captured frame is accounted for."""
    parts = ("derained", "passed_through", "dropped")
    return statistics["captured"] == sum(statistics[part] for part in parts)


def manifest(states=(), look_ahead=0, sizes="16x16,64x48,256x256"):
    """The part of a bundle that the loop looks at."""
    return SimpleNamespace(
        folder="bundle",
        manifest=SimpleNamespace(
            states=states, look_ahead=look_ahead, sizes=SizeRange.parse(sizes)
        ),
    )


class Rememberer:
    """A derainer with a memory, whose pictures tell what it knew.

    The level of a frame is its first value. Of its picture, the first value is 255 less
    that, the second how many frames it remembered, itself included, the third the level
    of the last frame it saw. At the levels in `poison`, a state is no number.
    """

    def __init__(self, look_ahead=0, poison=(), sizes="16x16,64x48,256x256"):
        self.bundle = manifest(("state_0",), look_ahead, sizes)
        self.sizes = self.bundle.manifest.sizes
        self.look_ahead, self.poison = look_ahead, poison
        self.resets, self.fed = 0, []
        self._seen, self._out = [], 0

    def reset(self):
        self.resets += 1
        self._seen, self._out = [], 0

    def derain(self, image):
        level = int(image[0, 0, 0])
        self.fed.append(level)
        if level in self.poison:
            self.reset()
            raise StateError("a state is not finite")
        self._seen.append(image)
        return self._next() if len(self._seen) > self.look_ahead else None

    def flush(self):
        while self._out < len(self._seen):
            yield self._next()

    def stream(self, images):
        """With three frames ahead, as where copies overlap."""
        self.reset()
        images, ahead = iter(images), deque()
        while True:
            while len(ahead) < 3 and (image := next(images, None)) is not None:
                ahead.append(image)
            if not ahead:
                break
            picture = self.derain(ahead.popleft())
            if picture is not None:
                yield picture
        yield from self.flush()

    def _next(self):
        image = self._seen[self._out]
        self._out += 1
        picture = 255 - image
        newest = min(self._out + self.look_ahead, len(self._seen)) - 1
        picture[0, 0, 1] = self._out
        picture[0, 0, 2] = self._seen[newest][0, 0, 0]
        return picture


def scene(seed, count, first=0, size=SIZE):
    """`count` pictures of one scene, with levels from `first` on."""
    blocks = np.random.default_rng(seed).integers(60, 200, (6, 8, 3), np.uint8)
    rows, columns = -(-size.height // 6), -(-size.width // 8)
    image = blocks.repeat(rows, 0).repeat(columns, 1)[: size.height, : size.width]
    for level in range(first, first + count):
        picture = image.copy()
        picture[0, 0] = level
        yield picture
