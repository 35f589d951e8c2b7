"""The frame loop: a source, the network and sinks, each in a thread of its own.

    capture -> queue -> network, in the calling thread -> queue -> writer
                                                       -> queue -> writer

Reading, deraining and writing overlap, and frames stay in order. Files and cameras take
the same road; what differs is what a full queue does (see `BoundedQueue`): for a file
it is waited for, so that every frame arrives; for a camera the oldest frame is dropped,
so that the picture is new. Whatever fails stops the others, and closes what is open.

One camera is several cameras of which there is one: `Scheduler` serves it. A lone file
alone takes its frames itself, as backends have several of them under way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from derain.core.errors import StreamError
from derain.runtime.pipeline.camera_stream import CameraStream
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.scheduler import Scheduler
from derain.runtime.session import Session
from derain.runtime.video.frames import Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did.

    Attributes:
        frames: How many were written; of several sinks, to the one that took most.
        seconds: How long all of it took, reading and writing included.
        derain_ms: Median time in the network for one of the last frames, in ms; None
            without a frame.
    """

    frames: int
    seconds: float
    derain_ms: float | None

    @property
    def fps(self) -> float:
        """Frames per second, reading and writing included."""
        return self.frames / self.seconds if self.seconds else 0.0


def run_loop(
    capture: Capture,
    derainer: Session,
    sinks: Sequence[Sink],
    options: LoopOptions,
) -> Summary:
    """Derain the frames of `capture` into every one of `sinks`, and close all of them.

    The calling thread is the one that opened the derainer. Of several sinks, one that
    fails is closed, told of, and the others go on.

    Raises:
        StreamError: Something failed after the first frame, or some of the sinks did;
            what was finished is kept, and its `report` is a `Summary`.
        DerainError: It failed before that; nothing was written.
    """
    started = time.perf_counter()
    stream = CameraStream(capture, derainer, sinks, options)
    stream.start()
    try:
        if stream.overlaps:
            stream.pump()
        else:
            Scheduler(
                [stream], stopped=options.stopped, heartbeat=options.heartbeat
            ).run()
    finally:
        stream.close()
    summary = summarised(stream, time.perf_counter() - started)
    try:
        stream.check()
    except StreamError as error:
        error.report = summary
        raise
    return summary


def summarised(stream: CameraStream, seconds: float) -> Summary:
    """What `stream` did in `seconds`."""
    median = stream.options.statistics.derain.percentiles()
    return Summary(
        frames=stream.written,
        seconds=seconds,
        derain_ms=median["p50"] if median else None,
    )
