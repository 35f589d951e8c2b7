"""The frame loop: source, network, sink, one frame after the other.

Nothing is kept but the frame at hand, so memory does not grow with the clip.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from derain.runtime.derainer import Derainer
from derain.runtime.errors import DerainError, ShapeError, StreamError
from derain.runtime.resizing import derain_resized
from derain.runtime.video.base import Frame, Sink, Source

_LATENCIES_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a run is limited and watched.

    Attributes:
        limit: Stop after this many frames; None: all.
        resize: Scale frames the bundle does not take, and back.
        stopped: Asked before every frame whether to stop here.
        progress: Told after every frame how many are finished.
    """

    limit: int | None = None
    resize: bool = False
    stopped: Callable[[], object] = lambda: False
    progress: Callable[[int], None] = lambda done: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did.

    Attributes:
        frames: How many were derained and written.
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


def derained(
    frames: Iterable[Frame],
    derainer: Derainer,
    *,
    resize: bool,
    latencies_ms: deque[float],
) -> Iterator[Frame]:
    """`frames` without rain; how long each took is added to `latencies_ms`."""
    for frame in frames:
        started = time.perf_counter()
        try:
            if resize:
                image = derain_resized(derainer, frame.image)
            else:
                image = derainer.derain(frame.image)
        except ShapeError as error:
            raise ShapeError(f"{frame}: {error}") from error
        latencies_ms.append((time.perf_counter() - started) * 1000)
        yield replace(frame, image=image)


def run(
    source: Source, derainer: Derainer, sink: Sink, options: StreamOptions
) -> Summary:
    """Derain the frames of `source` into `sink`, which is closed at the end.

    Raises:
        StreamError: Something failed after the first frame; what was finished is kept.
        DerainError: It failed before that; nothing was written.
    """
    started = time.perf_counter()
    latencies_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
    done = 0
    try:
        with closing(sink):
            rainy = itertools.islice(source, options.limit)
            wanted = itertools.takewhile(lambda _: not options.stopped(), rainy)
            for frame in derained(
                wanted, derainer, resize=options.resize, latencies_ms=latencies_ms
            ):
                sink.write(frame)
                done += 1
                options.progress(done)
            limited = options.limit is not None and done >= options.limit
            if not limited and not options.stopped():
                sink.finish()
    except DerainError as error:
        if done and sink.description:
            raise StreamError(
                f"{error}; what was finished of the first {done} frames is kept in "
                f"{sink.description}"
            ) from error
        raise
    return Summary(
        frames=done,
        seconds=time.perf_counter() - started,
        derain_ms=statistics.median(latencies_ms) if latencies_ms else None,
    )
