"""The frame loop: a source, the network and sinks, each in a thread of its own.

    capture -> queue -> network, in the calling thread -> queue -> writer
                                                       -> queue -> writer

Reading, deraining and writing overlap, and frames stay in order. Files and cameras take
the same road; what differs is what a full queue does (see `BoundedQueue`): for a file
it is waited for, so that every frame arrives; for a camera the oldest frame is dropped,
so that the picture is new. Whatever fails stops the others, and closes what is open.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from derain.core.errors import DerainError, StreamError
from derain.core.sizes import Size
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.deadline import Deadline
from derain.runtime.pipeline.inference import Inference
from derain.runtime.pipeline.no_signal import NoSignal
from derain.runtime.pipeline.options import Late
from derain.runtime.pipeline.rain_gate import RainGate
from derain.runtime.pipeline.writer import Writer
from derain.runtime.telemetry.statistics import SinkStatistics, Statistics
from derain.runtime.video.frames import Frame, Sink

_log = logging.getLogger(__name__)

_TICK_S = 0.1  # how soon a signal or a sink that failed is seen while no frame comes


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How a run is limited and watched.

    Attributes:
        limit: Stop after this many frames; None: all.
        resize: Scale frames the bundle does not take, and back; of a live source, also
            frames of another size than the first ones.
        choose: Which derainer takes frames of a size; None: always the same.
        gate: Lets frames without rain pass; None: every frame is derained.
        max_latency_ms: How old a live frame may get until the first sink has it; None:
            no bound but the newest frame wins.
        late: What becomes of frames that would be older.
        statistics: Counts what happens.
        stopped: Asked before every frame, and while none comes, whether to stop here.
        progress: Told after every frame how many went on to the sinks.
        heartbeat: Called as often as `stopped`, for a watchdog.
    """

    limit: int | None = None
    resize: bool = False
    choose: Callable[[Size], Derainer] | None = None
    gate: RainGate | None = None
    max_latency_ms: float | None = None
    late: Late = "drop"
    statistics: Statistics = field(default_factory=Statistics)
    stopped: Callable[[], object] = lambda: False
    progress: Callable[[int], None] = lambda done: None
    heartbeat: Callable[[], None] = lambda: None


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
    derainer: Derainer,
    sinks: Sequence[Sink],
    options: LoopOptions,
) -> Summary:
    """Derain the frames of `capture` into every one of `sinks`, and close all of them.

    The calling thread is the one that opened the derainer. Of several sinks, one that
    fails is closed, told of, and the others go on.

    Raises:
        StreamError: Something failed after the first frame, or some of the sinks did;
            what was finished is kept.
        DerainError: It failed before that; nothing was written.
    """
    return _Loop(capture, derainer, sinks, options).run()


class _Loop:
    def __init__(
        self,
        capture: Capture,
        derainer: Derainer,
        sinks: Sequence[Sink],
        options: LoopOptions,
    ) -> None:
        info = capture.info
        self._options = options
        self._live = info.live
        self._statistics = options.statistics
        self._sinks = sinks
        self._capture = capture
        bounded = info.live and options.max_latency_ms is not None
        deadline = Deadline((options.max_latency_ms or 0) / 1000) if bounded else None
        self._writers = [
            self._writer(sink, number, deadline) for number, sink in enumerate(sinks)
        ]
        self._told: set[Writer] = set()
        plain = options.choose is None and options.gate is None and not options.resize
        self._inference = Inference(
            derainer,
            self._statistics,
            overlap=plain and not info.live,
            choose=options.choose,
            resize=options.resize,
            size=info.size if info.live and options.resize else None,
            gate=options.gate,
            deadline=deadline,
            late=options.late,
        )
        self._no_signal = NoSignal(info.time_base) if info.live else None
        self._done = 0
        self._whole = False

    def _writer(self, sink: Sink, number: int, deadline: Deadline | None) -> Writer:
        same = sum(other.name == sink.name for other in self._sinks[:number])
        row = SinkStatistics(f"{sink.name} ({same + 1})" if same else sink.name)
        self._statistics.sinks.append(row)
        if deadline is None or number:
            return Writer(sink, row, live=self._live)
        return Writer(sink, row, live=self._live, on_written=deadline.written)

    def run(self) -> Summary:
        started = time.perf_counter()
        failure: DerainError | None = None
        for writer in self._writers:
            writer.start()
        try:
            self._pump()
        except DerainError as error:
            failure = error
        finally:
            for writer in self._writers:
                writer.end(whole=self._whole)
            try:
                self._capture.close()
            finally:
                for writer in self._writers:
                    writer.join()
        self._raise(failure)
        median = self._statistics.derain.percentiles()
        return Summary(
            frames=self._written,
            seconds=time.perf_counter() - started,
            derain_ms=median["p50"] if median else None,
        )

    def _pump(self) -> None:
        limit = self._options.limit
        for frame in self._inference.derained(self._arrivals()):
            if self._no_signal is not None:
                frame = self._no_signal.saw(frame, time.monotonic())
            self._put(frame)
            self._done += 1
            self._options.progress(self._done)
            if self._done == limit:
                break
        # A live run ends when somebody stops it; a file that is stopped is not whole.
        self._whole = self._live or self._done == limit or self._is_over()

    def _is_over(self) -> bool:
        return self._capture.over and not self._options.stopped()

    def _arrivals(self) -> Iterator[Frame | None]:
        """The frames of the source; None while it is lost."""
        while not self._options.stopped() and not self._deserted():
            self._options.heartbeat()
            item = self._capture.get(_TICK_S)
            if item is not None:
                frame, handed_over = item
                self._statistics.wait.add((time.monotonic() - handed_over) * 1000)
                yield frame
            elif self._capture.over:
                return
            elif self._capture.lost_since is not None:
                yield None
                self._show_no_signal()

    def _show_no_signal(self) -> None:
        lost_since = self._capture.lost_since  # None: it is back just now
        if self._no_signal is None or lost_since is None:
            return
        frame = self._no_signal.frame(lost_since, time.monotonic())
        if frame is not None:
            self._put(frame)
            self._statistics.count("no_signal")

    def _put(self, frame: Frame) -> None:
        for writer in self._writers:
            writer.put(frame)

    def _deserted(self) -> bool:
        """Whether every sink has failed; each failure is told of once."""
        failed = [writer for writer in self._writers if writer.error is not None]
        left = len(self._writers) - len(failed)
        for writer in failed:
            if left and writer not in self._told:
                self._told.add(writer)
                _log.warning(
                    f"{_line(writer.error)}; this sink is closed, {left} of "
                    f"{len(self._writers)} go on"
                )
        return not left

    @property
    def _written(self) -> int:
        return max((writer.written for writer in self._writers), default=0)

    def _raise(self, failure: DerainError | None) -> None:
        """Raise what the run failed with, if it did."""
        errors = [each.error for each in self._writers if each.error is not None]
        error: BaseException | None = failure
        if error is None and len(errors) == len(self._writers):
            error = errors[-1]
        elif error is None and errors:
            error = StreamError(
                f"{len(errors)} of {len(self._writers)} sinks failed: "
                f"{_line(errors[0])}"
            )
        if not isinstance(error, DerainError):
            if error is not None:
                raise error
            return
        kept = [
            each.sink.name for each in self._writers if each.written and each.sink.keeps
        ]
        if kept:
            raise StreamError(
                f"{error}; what was finished of the first {self._written} frames is "
                f"kept in {', '.join(kept)}"
            ) from error
        raise error


def _line(error: BaseException | None) -> str:
    if isinstance(error, DerainError):
        return str(error)
    return f"{type(error).__name__}: {error}"  # a bug: its type helps
