"""One camera of a run, or its file: its capture, its memory, its sinks, its counts.

    capture -> newest-frame queue -> network -> queue -> writer
                                             -> queue -> writer

Capture and writers have threads of their own. The network's step is taken when the
owner of the engine says so, one frame at a time (`CameraStream.serve`), or for as long
as there are frames (`CameraStream.pump`), where a lone file has several under way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack

from derain.core.errors import DerainError, StreamError
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.deadline import Deadline
from derain.runtime.pipeline.inference import Inference
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.no_signal import NoSignal
from derain.runtime.pipeline.writer import Writer
from derain.runtime.session import NetworkCall, Session
from derain.runtime.telemetry.statistics import SinkStatistics
from derain.runtime.video.frames import Frame, Sink

_log = logging.getLogger(__name__)

TICK_S = 0.1  # how soon a signal or a sink that failed is seen while no frame comes


class CameraStream:
    """Frames of one source through the network into sinks, and what became of them.

    Args:
        capture: Reads the source; closed by `finish`.
        session: What derains, and remembers.
        sinks: Where frames go; of several, one that fails is closed, told of, and the
            others go on.
        options: Its limits.

    Attributes:
        options: The same.
        capture: The same.
        over: Whether nothing is left to do: it has ended, reached its limit, failed, or
            has no sink any more.
        failure: What it failed with, or None; of sinks see `close`.
        busy_s: How long it has kept the network busy, in seconds.
        served: How many frames it has taken for that.
        lowered_fps: Take no more frames a second than these; None: as they come.
        may_begin: When its next frame may be taken, by ``time.monotonic()``.
    """

    def __init__(
        self,
        capture: Capture,
        session: Session,
        sinks: Sequence[Sink],
        options: LoopOptions,
    ) -> None:
        info = capture.info
        self.options = options
        self.capture = capture
        self.over = False
        self.failure: DerainError | None = None
        self.busy_s = 0.0
        self.served = 0
        self.lowered_fps: float | None = None
        self.may_begin = 0.0
        self._live = info.live
        self._statistics = options.statistics
        self._sinks = sinks
        bounded = info.live and options.max_latency_ms is not None
        deadline = Deadline((options.max_latency_ms or 0) / 1000) if bounded else None
        self._writers = [
            self._writer(sink, number, deadline) for number, sink in enumerate(sinks)
        ]
        self._told: set[Writer] = set()
        plain = options.choose is None and options.gate is None
        self.overlaps = plain and not info.live
        self._inference = Inference(
            session,
            self._statistics,
            overlap=self.overlaps,
            choose=options.choose,
            resize=options.resize,
            size=info.size if info.live and options.resize else None,
            gate=options.gate,
            deadline=deadline,
            late=options.late,
            name=options.name,
        )
        self._no_signal = NoSignal(info.time_base) if info.live else None
        self._underway: Generator[Frame | NetworkCall, None, None] | None = None
        self._done = 0
        self._whole = self._pumped = False

    def _writer(self, sink: Sink, number: int, deadline: Deadline | None) -> Writer:
        same = sum(other.name == sink.name for other in self._sinks[:number])
        row = SinkStatistics(f"{sink.name} ({same + 1})" if same else sink.name)
        self._statistics.sinks.append(row)
        if deadline is None or number:
            return Writer(sink, row, live=self._live)
        return Writer(sink, row, live=self._live, on_written=deadline.written)

    def start(self) -> None:
        """Begin to write."""
        for writer in self._writers:
            writer.start()

    @property
    def waiting_since(self) -> float | None:
        """Since when a frame waits, by ``time.monotonic()``; None while none does."""
        return None if self.over else self.capture.waiting_since

    def serve(self) -> None:
        """Take the frame that waits, if there is one, through the network."""
        call = self.begin()
        if call is not None:
            call.run()
            self.finish(call)

    def begin(self) -> NetworkCall | None:
        """Take the frame that waits, if there is one, as far as the network.

        Returns:
            The call that is to be made before `finish`; None: it needs none.
        """
        try:
            item = self.capture.get(0.0)
        except DerainError as error:
            self.failure = error
            self.stop()  # the frames before it were good
            return None
        if item is None:
            return None
        frame, handed_over = item
        began = time.monotonic()
        self._statistics.wait.add((began - handed_over) * 1000)
        self._underway = self._inference.step(frame)
        call = self._deliver(self._underway)
        if call is not None:  # the others cost next to nothing
            self.served += 1
            self.busy_s += time.monotonic() - began
        return call

    def finish(self, call: NetworkCall) -> None:
        """Take the frame on to the sinks, now that its `call` was made."""
        assert self._underway is not None, "it was begun"
        went_on = time.monotonic()
        self._deliver(self._underway)
        self.busy_s += call.took_s + time.monotonic() - went_on

    @property
    def spared(self) -> int:
        """How many frames have needed no network, as it was dry."""
        return self._inference.spared

    def lower(self, fps: float | None) -> None:
        """Take no more than `fps` frames a second from now on; None: all."""
        self.lowered_fps = fps
        if fps is None:
            self.may_begin = 0.0

    def tend(self) -> None:
        """See to what happens without a frame: a loss, an end, a sink that fails."""
        if self._deserted():
            self.stop()
        if self.over or self.capture.waiting_since is not None:
            return
        self.serve()  # meets what reading has failed with, and gives up a silent source
        if self.over:
            return
        if self.capture.over:
            self._deliver(self._inference.flush())
            self._whole = self._whole or not self.over
            self.over = True
        elif self.capture.lost_since is not None:
            self._deliver(self._inference.step(None))
            self._show_no_signal()

    def stop(self) -> None:
        """Let what is under way out, and take no more."""
        if not self.over:
            self._deliver(self._inference.flush())
            # A live run ends when somebody stops it; a stopped file is not whole.
            self._whole = self._whole or (self._live and self.failure is None)
        self.over = True

    def fail(self, error: DerainError) -> None:
        """It is over, because of `error`."""
        self.failure = self.failure or error
        self.over = True

    def pump(self) -> None:
        """Take frames for as long as there are some; see `Backend.stream`."""
        self._pumped = True
        self._deliver(self._inference.derained(self._arrivals()))
        if not self.over:
            self._whole = self.capture.over and not self.options.stopped()
        self.over = True

    def close(self) -> None:
        """Close capture and sinks, and wait until what was handed over is written."""
        self.over = True
        if not self._pumped:
            self._inference.abandon()
        for writer in self._writers:
            writer.end(whole=self._whole)
        try:
            self.capture.close()
        finally:
            for writer in self._writers:
                writer.join()

    def check(self) -> None:
        """See that all went well; after `close`.

        Raises:
            StreamError: Something failed after the first frame, or some of the sinks
                did; what was finished is kept.
            DerainError: It failed before that; nothing was written.
        """
        errors = [each.error for each in self._writers if each.error is not None]
        error: BaseException | None = self.failure
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
                f"{error}; what was finished of the first {self.written} frames is "
                f"kept in {', '.join(kept)}"
            ) from error
        raise error

    @property
    def written(self) -> int:
        """How many frames were written; of several sinks, to the one that took most."""
        return max((writer.written for writer in self._writers), default=0)

    def _deliver(
        self, items: Generator[Frame | NetworkCall, None, None]
    ) -> NetworkCall | None:
        """Hand frames to the sinks; what fails is the end of this camera alone.

        Returns:
            The call of the network that they wait for; None: they have ended.
        """
        try:
            with ExitStack() as stack:
                stack.callback(items.close)
                for item in items:
                    if isinstance(item, NetworkCall):
                        stack.pop_all()
                        return item
                    self._finish(item)
                    if self.over:
                        break
        except DerainError as error:
            self.fail(error)
        return None

    def _finish(self, frame: Frame) -> None:
        if self._no_signal is not None:
            frame = self._no_signal.saw(frame, time.monotonic())
        self._put(frame)
        self._done += 1
        self.options.progress(self._done)
        if self._done == self.options.limit:
            self._whole = self.over = True

    def _arrivals(self) -> Iterator[Frame | None]:
        """The frames of a file."""
        while not self.options.stopped() and not self._deserted():
            self.options.heartbeat()
            item = self.capture.get(TICK_S)
            if item is not None:
                frame, handed_over = item
                self._statistics.wait.add((time.monotonic() - handed_over) * 1000)
                yield frame
            elif self.capture.over:
                return

    def _show_no_signal(self) -> None:
        lost_since = self.capture.lost_since  # None: it is back just now
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
        name = f"{self.options.name}: " if self.options.name else ""
        for writer in failed:
            if left and writer not in self._told:
                self._told.add(writer)
                _log.warning(
                    f"{name}{_line(writer.error)}; this sink is closed, {left} of "
                    f"{len(self._writers)} go on"
                )
        return not left


def _line(error: BaseException | None) -> str:
    if isinstance(error, DerainError):
        return str(error)
    return f"{type(error).__name__}: {error}"  # a bug: its type helps
