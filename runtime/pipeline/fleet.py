"""Several cameras in one process: one engine, one thread that serves it.

What may take its time is done beside that thread, so that no camera waits for another
one: a source is opened (and, where it may come back, tried again) by a thread of its
own, and a camera that is over is closed by one. What fails is the end of its camera,
and is said; the others go on.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

from derain.core.bundle import Bundle
from derain.core.errors import DerainError
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.batching import open_batching
from derain.runtime.pipeline.camera_place import CameraPlace, may_come_back
from derain.runtime.pipeline.camera_stream import CameraStream
from derain.runtime.pipeline.cameras import CameraConfig
from derain.runtime.pipeline.deadline import check_room
from derain.runtime.pipeline.engine import Engine
from derain.runtime.pipeline.fleet_report import FleetReport
from derain.runtime.pipeline.loop import summarised
from derain.runtime.pipeline.options import Address, RunOptions
from derain.runtime.pipeline.report import reported
from derain.runtime.pipeline.scheduler import Scheduler
from derain.runtime.pipeline.stream_parts import about, stream_options
from derain.runtime.preview import Wall, open_wall, preview_notes
from derain.runtime.telemetry.roster import Roster
from derain.runtime.telemetry.start import start_telemetry
from derain.runtime.telemetry.systemd import Notifier
from derain.runtime.video.frames import Sink

_log = logging.getLogger(__name__)


class Fleet:
    """Runs cameras on one bundle, to the end of all of them.

    Args:
        bundle: A bundle, its folder, or what `derain.load` made of it.
        cameras: The first ones.
        options: Of the run; those of each camera are its own.
        stopped: Asked before every frame, and while none comes, whether to stop here.
        changed: Asked as often for the cameras that are wanted now; None: as before.
        beside: Sinks that each camera of a name has besides its own.
    """

    def __init__(
        self,
        bundle: Bundle | Derainer | Path | str,
        cameras: Sequence[CameraConfig],
        options: RunOptions,
        *,
        stopped: Callable[[], object] = lambda: False,
        changed: Callable[[], Sequence[CameraConfig] | None] = lambda: None,
        beside: Callable[[str], Sequence[Sink]] = lambda name: (),
    ) -> None:
        self._engine = Engine(bundle, options)
        self._wanted = list(cameras)
        self._options = options
        self._asked = stopped
        self._changed = changed
        self._beside = beside
        self._wall: Wall | None = None
        self._notifier = Notifier()
        self._roster = Roster()
        self._places: dict[str, CameraPlace] = {}
        self._opened: queue.SimpleQueue[CameraPlace] = queue.SimpleQueue()
        self._closers: list[threading.Thread] = []
        self._report = FleetReport()

    def run(self) -> FleetReport:
        """Serve them.

        Returns:
            What each camera did, and what it failed with.

        Raises:
            DerainError: The bundle does not run, or a file that is a camera's source
                cannot be opened at the start; nothing was written.
        """
        started = time.perf_counter()
        with ExitStack() as stack:
            if self._options.preview is not None:
                self._wall = stack.enter_context(closing(self._open_wall()))
            stack.callback(self._close)
            for camera in self._wanted:
                self._open(camera, waits=not may_come_back(camera.source))
            self._derainer = self._engine.load(stack)
            batching = open_batching(self._derainer)
            if batching is not None:
                stack.enter_context(closing(batching))
            # Before the engine goes; `_close` again, as it may not get here.
            stack.callback(self._close)
            start_telemetry(stack, self._roster, self._options, self._notifier)
            self._scheduler = Scheduler(
                stopped=self._is_stopped,
                heartbeat=self._notifier.heartbeat,
                between=self._between,
                ended=self._end,
                contains=True,
                batching=batching,
            )
            self._notifier.ready()
            self._scheduler.run(waits=self._is_opening)
            for place in list(self._places.values()):
                if place.stream is not None and place.statistics.state == "running":
                    self._end(place.stream)
            for closer in self._closers:
                closer.join()
            for text in self._derainer.notes:
                _log.warning(text)
        self._report.seconds = round(time.perf_counter() - started, 3)
        return self._report

    def _open_wall(self) -> Wall:
        host, port = cast(Address, self._options.preview)
        token = self._options.preview_token
        wall = open_wall(host, port, token)
        for text in preview_notes(host, wall.port, token):
            _log.warning(text)
        return wall

    def _is_stopped(self) -> bool:
        if not self._asked():
            return False
        self._notifier.stopping()
        return True

    def _is_opening(self) -> bool:
        return any(each.statistics.state == "opening" for each in self._places.values())

    # ---- In the thread that serves ----

    def _between(self) -> None:
        wanted = self._changed()
        if wanted is not None:
            self._adopt(wanted)
        while not self._opened.empty():
            place = self._opened.get()
            if place.gone.is_set():  # taken out meanwhile
                place.discard()
            else:
                self._begin(place)

    def _adopt(self, wanted: Sequence[CameraConfig]) -> None:
        """Let those go that are not `wanted` as they are, and open those that are new.

        One that had failed is tried once more.
        """
        kept = {
            name
            for name, place in self._places.items()
            if place.camera in wanted and place.statistics.state != "failed"
        }
        gone = [name for name in self._places if name not in kept]
        new = [camera for camera in wanted if camera.name not in kept]
        before = [self._remove(name) for name in gone]
        for camera in new:
            self._open(camera, before=before)
        _log.warning(
            f"the configuration was read again: {len(kept)} cameras go on, "
            f"{len(gone)} were closed, {len(new)} opened"
        )

    def _open(
        self,
        camera: CameraConfig,
        *,
        waits: bool = False,
        before: Sequence[threading.Event] = (),
    ) -> None:
        place = CameraPlace(camera, before)
        self._places[camera.name] = place
        self._roster.put(camera.name, place.statistics)
        beside = list(self._beside(camera.name))
        if self._wall is not None:
            beside.append(self._wall.sink(camera.name, place.statistics))
        if waits:
            place.open(beside)
            place.raise_failure()
            self._opened.put(place)
            return
        threading.Thread(
            target=self._open_apart, args=(place, beside), name="opening", daemon=True
        ).start()

    def _open_apart(self, place: CameraPlace, beside: Sequence[Sink]) -> None:
        place.open(beside)
        self._opened.put(place)

    def _begin(self, place: CameraPlace) -> None:
        camera, capture = place.camera, place.capture
        statistics = place.statistics
        if place.failure is None and capture is not None:
            try:
                bound_ms = camera.options.max_latency_ms
                check_room(capture.info, self._engine.bundles, bound_ms)
            except DerainError as error:
                place.failure = error
        if place.failure is not None or capture is None:
            place.discard()
            self._fail(place, str(place.failure))
            return
        place.memory = memory = self._engine.memory()
        choose = memory.choose if self._engine.has_choice else None
        options = stream_options(camera.options, statistics, choose, camera.name)
        place.stream = CameraStream(capture, memory.session, place.sinks, options)
        statistics.about = about(camera.source, self._derainer)
        statistics.state, statistics.signal = "running", True
        place.stream.start()
        self._scheduler.add(place.stream)

    def _remove(self, name: str) -> threading.Event:
        """Let a camera go; what is returned is set when it is closed."""
        place = self._places.pop(name)
        self._roster.remove(name)
        if self._wall is not None:
            self._wall.remove(name)
        place.gone.set()
        if place.stream is not None and place.statistics.state == "running":
            self._scheduler.remove(place.stream)
            self._close_beside(place)
        return place.closed

    def _end(self, stream: CameraStream) -> None:
        """`stream` is over."""
        place = next(each for each in self._places.values() if each.stream is stream)
        place.statistics.state = "failed" if stream.failure is not None else "ended"
        self._close_beside(place)

    def _close_beside(self, place: CameraPlace) -> None:
        if place.memory is not None:
            place.memory.close()  # in the thread of the engine
        closer = threading.Thread(
            target=self._close_stream, args=(place,), name="closing", daemon=True
        )
        self._closers = [each for each in self._closers if each.is_alive()]
        self._closers.append(closer)
        closer.start()

    # ---- In a thread of its own ----

    def _close_stream(self, place: CameraPlace) -> None:
        stream, name = place.stream, place.camera.name
        assert stream is not None  # it has been served
        try:
            stream.close()
            stream.check()
        except DerainError as error:
            self._fail(place, str(error))
        except BaseException as error:  # a bug: of this camera alone, and said
            self._fail(place, f"{type(error).__name__}: {error}")
            _log.debug("a camera has failed", exc_info=True)
        finally:
            place.closed.set()
            names = [sink.name for sink in place.sinks]
            summary = summarised(stream, place.statistics.seconds)
            report = reported(summary, self._derainer, names, place.statistics)
            self._report.cameras[name] = report

    def _fail(self, place: CameraPlace, text: str) -> None:
        place.statistics.state = "failed"
        place.statistics.signal = False
        place.closed.set()
        self._report.failures[place.camera.name] = text
        _log.warning(f"{place.camera.name}: {text}; the other cameras go on")

    def _close(self) -> None:
        """Whatever is still open, when something has failed."""
        for place in self._places.values():
            place.gone.set()
            if place.stream is None:
                place.discard()
            elif place.statistics.state == "running":
                place.statistics.state = "ended"
                self._close_beside(place)
        for closer in self._closers:
            closer.join()
