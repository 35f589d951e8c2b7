"""One camera of several, from its opening to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing

from derain.core.errors import DerainError, MediaError
from derain.runtime.pipeline.camera_stream import CameraStream
from derain.runtime.pipeline.cameras import CameraConfig
from derain.runtime.pipeline.capture import Capture, pauses
from derain.runtime.pipeline.engine import CameraMemory
from derain.runtime.pipeline.stream_parts import open_capture, open_sinks
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Sink
from derain.runtime.video.kinds import scheme
from derain.runtime.video.uris import public

_log = logging.getLogger(__name__)

# Sources that may be there later: a camera that is off is no mistake of the user's.
_COME_BACK = frozenset(
    {"camera", "v4l2", "csi", "gst", "rtsp", "rtsps", "http", "https"}
)
_PATIENCE_S = 10.0  # for what went before to free a device or a file


def may_come_back(source: str) -> bool:
    """Whether a source that is not there may be there later."""
    return scheme(source) in _COME_BACK


class CameraPlace:
    """One camera, from its opening to its end.

    Args:
        camera: What was asked for.
        before: Set when cameras that went have closed what they had open.

    Attributes:
        camera: The same.
        statistics: What it says of itself.
        gone: Set when it is wanted no more.
        closed: Set when nothing of it is open.
        failure: What its opening has failed with, or None.
        capture: Its source; None before it is open.
        sinks: Where its frames go.
        stream: What is served; None before that.
        memory: On the engine.
    """

    def __init__(
        self, camera: CameraConfig, before: Sequence[threading.Event] = ()
    ) -> None:
        self.camera = camera
        self.statistics = Statistics()
        self.statistics.state, self.statistics.signal = "opening", False
        self.gone = threading.Event()
        self.closed = threading.Event()
        self.failure: DerainError | None = None
        self.capture: Capture | None = None
        self.sinks: list[Sink] = []
        self.stream: CameraStream | None = None
        self.memory: CameraMemory | None = None
        self._before = before

    def open(self, beside: Sequence[Sink]) -> None:
        """Open source and sinks, and try a source again that may be there later.

        Args:
            beside: Sinks that are open: they get what the camera's own get.
        """
        for each in self._before:
            each.wait(_PATIENCE_S)
        camera = self.camera
        with ExitStack() as opened:
            for sink in beside:
                opened.enter_context(closing(sink))
            try:
                capture = opened.enter_context(self._opened_capture())
                self.statistics.signal = True
                self.sinks = open_sinks(
                    camera.sinks, capture.info, camera.options, self.statistics
                )
            except DerainError as error:
                self.failure = error
                return
            self.capture = capture
            self.sinks += beside
            opened.pop_all()

    def raise_failure(self) -> None:
        """Raise what opening has failed with, and say of which camera."""
        if self.failure is not None:
            raise MediaError(f"{self.camera.name}: {self.failure}") from self.failure

    def discard(self) -> None:
        """Close what is open and never was served."""
        with ExitStack() as stack:
            if self.capture is not None:
                stack.callback(self.capture.close)
            for sink in self.sinks:
                stack.callback(sink.close)
        self.closed.set()

    def _opened_capture(self) -> Capture:
        camera, said = self.camera, False
        for pause_s in pauses():
            try:
                return open_capture(
                    camera.source, camera.options, self.statistics, camera.name
                )
            except MediaError as error:
                if not may_come_back(camera.source):
                    raise
                if not said:
                    _log.warning(f"{camera.name}: {error}; trying again")
                said = True
            if self.gone.wait(pause_s):
                raise MediaError(f"{public(camera.source)} was not there")
        raise AssertionError("pauses never end")
