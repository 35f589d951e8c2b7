"""Frames as JPEG pictures, as many as are watched."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.errors import MediaError
from derain.runtime.pipeline.views import compose
from derain.runtime.preview.hub import Hub
from derain.runtime.video.frames import Frame

MAX_WIDTH = 1280  # pixels of a picture, before and after each
QUALITY = 85  # of 100, as libjpeg counts
MIN_PERIOD_S = 1 / 40  # a file may run at hundreds a second; a camera's 30 all pass


class JpegSink:
    """Codes each frame once for each view that is watched: nobody costs nothing.

    Args:
        hub: Where pictures go.
        clock: Seconds, monotonic.
    """

    name = "the preview"
    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._clock = clock
        self._next = 0.0

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        views = self._hub.watched
        now = self._clock()
        if not views or now < self._next:
            return
        self._next = now + MIN_PERIOD_S
        derained = _fitted(frame.image)
        rainy = derained if frame.rainy is None else _fitted(frame.rainy)
        for view in views:
            self._hub.publish(view, jpeg(compose(view, rainy, derained)))

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""


def _fitted(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if width <= MAX_WIDTH:
        return image
    size = MAX_WIDTH, max(1, round(height * MAX_WIDTH / width))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """`image` `(H, W, 3)` uint8 BGR as a JPEG file.

    Raises:
        MediaError: It is larger than JPEG allows.
    """
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise MediaError(f"a picture of shape {image.shape} cannot be coded as JPEG")
    return data.tobytes()
