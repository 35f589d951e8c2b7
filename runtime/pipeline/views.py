"""What a sink shows of a frame: the result, before and after, or the rain alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.runtime.pipeline.options import View
from derain.runtime.video.frames import Frame, Sink, SourceInfo

_GAIN = 4  # rain takes away some ten grey levels of 255: too dark to be seen


def compose(
    view: View, rainy: NDArray[np.uint8], derained: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The picture that `view` shows; a new one unless it is `derained` itself.

    Args:
        view: ``side-by-side`` is twice as wide, before on the left; ``split`` has the
            left half of before and the right half of after, with a line between;
            ``rain`` is the absolute difference, four times as bright.
        rainy: `(H, W, 3)` uint8 BGR, before.
        derained: The same after.
    """
    if view == "side-by-side":
        return np.concatenate((rainy, derained), axis=1)
    if view == "split":
        middle = derained.shape[1] // 2
        picture = derained.copy()
        picture[:, :middle] = rainy[:, :middle]
        line = max(1, derained.shape[1] // 640)
        picture[:, middle : middle + line] = 255
        return picture
    if view == "rain":
        difference = cv2.absdiff(rainy, derained)
        return cast(NDArray[np.uint8], cv2.convertScaleAbs(difference, alpha=_GAIN))
    return derained


def view_info(info: SourceInfo, view: View) -> SourceInfo:
    """What frames of `info` are like in `view`."""
    if view == "side-by-side" and info.size is not None:
        return replace(info, size=replace(info.size, width=2 * info.size.width))
    return info


class ViewedSink:
    """A sink that is given a view of each frame, and a line of text on it.

    It works in the thread of the sink: other sinks do not wait for it.

    Args:
        sink: Where the pictures go; opened with `view_info`.
        view: What it shows.
        overlay: Asked for every frame what to write in the corner; None: nothing.
    """

    def __init__(
        self, sink: Sink, view: View, overlay: Callable[[], str] | None = None
    ) -> None:
        self._sink = sink
        self._view = view
        self._overlay = overlay

    @property
    def name(self) -> str:
        """See `Sink.name`."""
        return self._sink.name

    @property
    def keeps(self) -> bool:
        """See `Sink.keeps`."""
        return self._sink.keeps

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Sink.notes`."""
        return self._sink.notes

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        rainy = frame.image if frame.rainy is None else frame.rainy
        image = compose(self._view, rainy, frame.image)
        if self._overlay is not None:
            image = image.copy() if image is frame.image else image
            write_text(image, self._overlay())
        self._sink.write(replace(frame, image=image))

    def finish(self) -> None:
        """See `Sink.finish`."""
        self._sink.finish()

    def close(self) -> None:
        """See `Sink.close`."""
        self._sink.close()


def write_text(image: NDArray[np.uint8], text: str) -> None:
    """Write `text` into the upper left corner of `image`, white on black."""
    height = max(10, image.shape[0] // 36)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, height / 22  # 22 px high at scale 1
    (width, _), below = cv2.getTextSize(text, font, scale, 1)
    image[: 2 * height + below, : width + height] //= 3
    place = (height // 2, height + height // 2)
    cv2.putText(image, text, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
