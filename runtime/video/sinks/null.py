"""A sink that keeps nothing, to time everything before it."""

from __future__ import annotations

from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions


class NullSink:
    """Takes every frame and forgets it."""

    name = "null:"
    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        pass

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""
