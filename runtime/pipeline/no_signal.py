"""What sinks show while a live source is lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.runtime.video.frames import Frame

_PERIOD_S = 0.5


class NoSignal:
    """Makes a stand-in for the last frame, twice a second.

    Args:
        unit: What frame times are multiples of, in seconds.
    """

    def __init__(self, unit: Fraction) -> None:
        self._unit = unit
        self._last: Frame | None = None
        self._seen_at = 0.0
        self._shown = Fraction(-1)  # time of the frame or stand-in shown last
        self._next = 0.0

    def saw(self, frame: Frame, now: float) -> Frame:
        """Take note of a frame that goes on to the sinks, at `now` seconds.

        Returns:
            The frame; after stand-ins, not earlier than the last of them.
        """
        if frame.time <= self._shown:
            frame = replace(frame, time=self._shown + self._unit)
        self._last, self._seen_at, self._next = frame, now, now
        self._shown = frame.time
        return frame

    def frame(self, lost_since: float, now: float) -> Frame | None:
        """The stand-in for `now`; None if it is too early for the next one.

        Before the first frame there is none: nobody knows what size it would have.
        """
        if self._last is None or now < self._next:
            return None
        self._next = now + _PERIOD_S
        image = no_signal_picture(self._last.image, now - lost_since)
        ticks = round(Fraction(now - self._seen_at) / self._unit)
        moment = self._last.time + ticks * self._unit
        self._shown = max(moment, self._shown + self._unit)
        return replace(
            self._last,
            image=image,
            rainy=image,
            time=self._shown,
            captured=now,
            passed=True,
            signal=False,
        )


def no_signal_picture(image: NDArray[np.uint8], seconds: float) -> NDArray[np.uint8]:
    """`image` `(H, W, 3)` dimmed, with a text that says for how long."""
    picture = image >> 2
    height, width = picture.shape[:2]
    text = f"no signal for {seconds:.0f} s"
    scale = width / 640
    thickness = max(1, round(2 * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX
    (text_width, text_height), _ = cv2.getTextSize(text, font, scale, thickness)
    place = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(
        picture, text, place, font, scale, (255, 255, 255), thickness, cv2.LINE_AA
    )
    return cast(NDArray[np.uint8], picture)
