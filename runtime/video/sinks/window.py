"""A window on the screen as a sink."""

from __future__ import annotations

import os
import re
import sys

import cv2

from derain.core.errors import MediaError
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions

_TITLE = "derain"
_STOP_KEYS = frozenset({27, ord("q")})  # Escape


class WindowSink:
    """Shows the newest frame; q, Escape or closing the window ends it.

    Raises:
        MediaError: This OpenCV has no windows, or there is no screen.
    """

    name = "window:"
    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        self._open = False
        toolkit = re.search(r"^ *GUI: +(\S+)", cv2.getBuildInformation(), re.MULTILINE)
        if toolkit is not None and toolkit[1] == "NONE":
            raise MediaError(
                "this OpenCV has no windows; run: "
                "pip uninstall opencv-python-headless; pip install opencv-python"
            )
        if sys.platform == "linux" and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise MediaError(
                "there is no screen (DISPLAY is not set); write to a file or a stream"
            )

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        try:
            if not self._open:
                cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
                cv2.resizeWindow(_TITLE, frame.size.width, frame.size.height)
                self._open = True
            cv2.imshow(_TITLE, frame.image)
            key = cv2.waitKey(1) & 0xFF
            visible = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error as error:
            raise MediaError(f"the window fails: {' '.join(str(error).split())}") from (
                error
            )
        if key in _STOP_KEYS or not visible:
            raise MediaError("the window was closed")

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""
        if self._open:
            self._open = False
            cv2.destroyWindow(_TITLE)
