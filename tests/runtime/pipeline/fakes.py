"""A camera, a screen, and what they have in common."""

import time
from fractions import Fraction

from derain.core.errors import SourceLostError
from derain.core.sizes import Size
from derain.runtime.video.frames import Frame, SourceInfo

SECONDS = 120  # far more than any of this takes
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
            size=Size(64, 48),
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
        self.closed = 0

    def write(self, frame):
        self.before(frame)
        self.frames.append(frame)

    def finish(self):
        pass

    def close(self):
        self.closed += 1


def lost():
    return SourceLostError("camera sent nothing for 5 s")


def adds_up(statistics):
    """Whether every captured frame is accounted for."""
    parts = ("derained", "passed_through", "dropped")
    return statistics["captured"] == sum(statistics[part] for part in parts)
