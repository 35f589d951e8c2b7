"""One run: everything that its options open, in the right order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, StreamError
from derain.core.options import from_keywords
from derain.core.progress import Progress, frames_line
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.deadline import check_room
from derain.runtime.pipeline.engine import Engine
from derain.runtime.pipeline.loop import run_loop
from derain.runtime.pipeline.options import Address, RunOptions
from derain.runtime.pipeline.report import Report, reported
from derain.runtime.pipeline.stream_parts import (
    about,
    open_capture,
    open_sinks,
    stream_options,
)
from derain.runtime.preview import open_preview, preview_notes
from derain.runtime.telemetry.start import start_telemetry
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.telemetry.systemd import Notifier
from derain.runtime.video.frames import Sink, SourceInfo
from derain.runtime.video.sinks import check_apart

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from derain.runtime.pipeline.options import RunKeywords

_log = logging.getLogger(__name__)


def run(
    bundle: Bundle | Derainer | Path | str,
    source: Path | str,
    sinks: Path | str | Sequence[Path | str] = (),
    *,
    stopped: Callable[[], object] = lambda: False,
    **options: Unpack[RunKeywords],
) -> Report:
    """Derain the frames of a source into one or several sinks, to the end.

    Args:
        bundle: The folder that ``derain-export`` made, or an opened `Bundle`; or what
            `derain.load` made of it, which stays open, and whose backend and threads
            are taken.
        source: Rainy frames: a path, a glob or an URI, as ``derain-run --source``.
        sinks: Where the result goes, as ``derain-run --sink``: one or several.
        stopped: Asked before every frame, and while none comes, whether to stop here.
        options: Those of ``derain-run``, see `RunOptions`.

    Returns:
        What was done: frames, seconds, and frames dropped; ``print`` shows it.

    Raises:
        ConfigError: There is neither sink nor preview, or two sinks are one place, or
            an option makes no sense.
        StreamError: Something failed after the first frame, or some of the sinks did;
            what was finished is kept, and its `report` says what was done.
        DerainError: Something cannot be opened, or fails at the first frame; nothing
            was written.

    Example:
        >>> import derain
        >>> sinks = ["clean.mp4", "frames/"]
        >>> report = derain.run("qsnet-fp32-1280x720", "rainy.mp4", sinks, crf=20)
        >>> report.frames
        20
    """
    chosen = from_keywords(RunOptions, options)
    uris = [sinks] if isinstance(sinks, (str, Path)) else list(sinks)
    if not uris and chosen.preview is None:
        raise ConfigError("there is neither a sink nor a preview for the result")
    check_apart([str(uri) for uri in uris])
    return _Run(bundle, str(source), [str(uri) for uri in uris], chosen, stopped).run()


class _Run:
    def __init__(
        self,
        bundle: Bundle | Derainer | Path | str,
        source: str,
        sinks: Sequence[str],
        options: RunOptions,
        stopped: Callable[[], object],
    ) -> None:
        self._bundle = bundle
        self._source = source
        self._sinks = sinks
        self._options = options
        self._stopped = stopped
        self._statistics = Statistics()
        self._notifier = Notifier()

    def run(self) -> Report:
        options, statistics = self._options, self._statistics
        with ExitStack() as stack:
            opened = stack.enter_context(ExitStack())
            # Read from here on, so that frames are new when the network is loaded.
            capture = opened.enter_context(
                open_capture(self._source, options, statistics)
            )
            info = capture.info
            sinks = open_sinks(self._sinks, info, options, statistics)
            for sink in sinks:
                opened.enter_context(closing(sink))
            named = list(sinks)  # what is not whole in the end has another name
            if options.preview is not None:
                page = self._open_preview(cast(Address, options.preview))
                sinks.append(opened.enter_context(closing(page)))
                named = named or [page]
            engine = Engine(self._bundle, options)
            check_room(info, engine.bundles, options.max_latency_ms)
            derainer = engine.load(stack)
            memory = stack.enter_context(closing(engine.memory()))
            statistics.about = about(self._source, derainer)
            start_telemetry(stack, statistics, options, self._notifier)
            with self._progress(info) as update:
                choose = memory.choose if engine.has_choice else None
                loop = replace(
                    stream_options(options, statistics, choose),
                    stopped=self._is_stopped,
                    progress=update,
                    heartbeat=self._notifier.heartbeat,
                )
                self._notifier.ready()
                opened.pop_all()  # the loop closes them, in the threads that use them
                try:
                    summary = run_loop(capture, memory.session, sinks, loop)
                except StreamError as error:
                    names = [sink.name for sink in named]
                    done = error.report
                    error.report = reported(done, derainer, names, statistics)
                    raise
            for notes in (derainer.notes, *(sink.notes for sink in sinks)):
                for text in notes:
                    _log.warning(text)
            names = [sink.name for sink in named]
            return reported(summary, derainer, names, statistics)

    def _open_preview(self, address: Address) -> Sink:
        token = self._options.preview_token
        page = open_preview(self._statistics, *address, token)
        for text in preview_notes(address[0], page.port, token):
            _log.warning(text)
        return page

    def _is_stopped(self) -> bool:
        if not self._stopped():
            return False
        self._notifier.stopping()
        return True

    @contextmanager
    def _progress(self, info: SourceInfo) -> Iterator[Callable[[int], None]]:
        if self._options.stats is not None:
            yield lambda done: None
            return
        total, limit = info.frames, self._options.limit
        if limit is not None:
            total = limit if total is None else min(limit, total)
        progress = Progress()
        try:
            yield lambda done: progress.update(partial(frames_line, done, total))
        finally:
            progress.close()
