"""Indices and times of frames over the losses of their source."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

from derain.runtime.video.frames import Frame


class ContinuedClock:
    """Keeps indices and times growing over sources that start from zero again.

    Args:
        unit: What frame times are multiples of, in seconds.
    """

    def __init__(self, unit: Fraction) -> None:
        self._unit = unit
        self._index = -1
        self._time = Fraction(-1)
        self._captured = time.monotonic()
        self._losses = 0
        self._offset: Fraction | None = None

    def restart(self) -> None:
        """Another source follows."""
        self._losses += 1
        self._offset = None

    def told(self, frame: Frame) -> Frame:
        """`frame`, as long after those of an earlier source as it was taken."""
        captured = frame.captured or time.monotonic()
        if self._losses:
            if self._offset is None:
                gap = Fraction(captured - self._captured)
                self._offset = self._time + gap - frame.time
            ticks = round((frame.time + self._offset) / self._unit)
            moment = max(ticks * self._unit, self._time + self._unit)
            frame = replace(
                frame, index=self._index + 1, time=moment, losses=self._losses
            )
        self._index, self._time, self._captured = frame.index, frame.time, captured
        return frame
