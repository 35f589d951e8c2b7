"""One run: everything that its options open, in the right order."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from derain.core.bundle import Bundle
from derain.core.errors import ConfigError
from derain.core.options import from_keywords
from derain.core.progress import Progress, frames_line
from derain.runtime.backends import AUTO
from derain.runtime.derainer import Derainer
from derain.runtime.frame_sizes import BundleChoice
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.deadline import check_room
from derain.runtime.pipeline.loop import LoopOptions, Summary, run_loop
from derain.runtime.pipeline.opening import opened_apart
from derain.runtime.pipeline.options import Address, RunOptions
from derain.runtime.pipeline.rain_gate import RainGate
from derain.runtime.pipeline.report import Report
from derain.runtime.pipeline.views import ViewedSink, view_info
from derain.runtime.preview import open_preview, preview_notes
from derain.runtime.telemetry.prometheus import MetricsServer
from derain.runtime.telemetry.reporter import Reporter
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.telemetry.systemd import Notifier
from derain.runtime.video.frames import Sink, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import check_apart, open_sink
from derain.runtime.video.sources import open_source

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from derain.runtime.pipeline.options import RunKeywords

_log = logging.getLogger(__name__)


def run(
    bundle: Bundle | Path | str,
    source: Path | str,
    sinks: Path | str | Sequence[Path | str] = (),
    *,
    stopped: Callable[[], object] = lambda: False,
    **options: Unpack[RunKeywords],
) -> Report:
    """Derain the frames of a source into one or several sinks, to the end.

    Args:
        bundle: The folder that ``derain-export`` made, or an opened `Bundle`.
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
            what was finished is kept.
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
        bundle: Bundle | Path | str,
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
            reopen = partial(
                open_source, self._source, cast("Fraction | None", options.fps)
            )
            # Read from here on, so that frames are new when the network is loaded.
            capture = opened.enter_context(
                Capture(
                    opened_apart(reopen),
                    statistics,
                    limit=options.limit,
                    reopen=reopen,
                )
            )
            info = capture.info
            sinks = [
                opened.enter_context(closing(self._open_sink(uri, info)))
                for uri in self._sinks
            ]
            named = list(sinks)
            if options.preview is not None:
                page = self._open_preview(cast(Address, options.preview))
                sinks.append(opened.enter_context(closing(page)))
                named = named or [page]
            if options.max_latency_ms is not None and not info.live:
                _log.warning(
                    "--max-latency-ms is for live sources; of a file, every frame "
                    "counts"
                )
            bundle = self._bundle
            if not isinstance(bundle, Bundle):
                bundle = Bundle.open(Path(bundle))
            others = [Bundle.open(Path(path)) for path in options.bundles]
            check_room(info, (bundle, *others), options.max_latency_ms)
            load = partial(Derainer, backend=options.backend, threads=options.threads)
            derainer = stack.enter_context(load(bundle))
            if options.backend != AUTO and derainer.advice is not None:
                _log.warning(derainer.advice)
            choice = stack.enter_context(closing(BundleChoice(derainer, others, load)))
            self._start_telemetry(stack)
            with self._progress(info) as update:
                loop = LoopOptions(
                    limit=options.limit,
                    resize=options.resize,
                    choose=choice.choose if others else None,
                    gate=RainGate() if options.gate == "auto" else None,
                    max_latency_ms=options.max_latency_ms,
                    late=options.late,
                    statistics=statistics,
                    stopped=self._is_stopped,
                    progress=update,
                    heartbeat=self._notifier.heartbeat,
                )
                self._notifier.ready()
                opened.pop_all()  # the loop closes them, in the threads that use them
                summary = run_loop(capture, derainer, sinks, loop)
            for notes in (derainer.notes, *(sink.notes for sink in sinks)):
                for text in notes:
                    _log.warning(text)
            return self._report(summary, derainer, [sink.name for sink in named])

    def _open_sink(self, uri: str, info: SourceInfo) -> Sink:
        options = self._options
        wanted = SinkOptions(force=options.force, crf=options.crf, limit=options.limit)
        sink = open_sink(uri, view_info(info, options.view), wanted)
        if options.view == "derained" and not options.overlay:
            return sink
        return ViewedSink(
            sink, options.view, self._overlay if options.overlay else None
        )

    def _open_preview(self, address: Address) -> Sink:
        token = self._options.preview_token
        page = open_preview(self._statistics, *address, token)
        for text in preview_notes(address[0], page.port, token):
            _log.warning(text)
        return page

    def _start_telemetry(self, stack: ExitStack) -> None:
        options = self._options
        if options.metrics is not None:
            host, port = cast(Address, options.metrics)
            stack.enter_context(MetricsServer(self._statistics, host, port))
        if options.stats is not None:
            stack.enter_context(
                Reporter(self._statistics, options.stats, options.stats_every)
            )

    def _overlay(self) -> str:
        statistics = self._statistics
        text = f"{statistics.fps:.1f} frames/s, {statistics['dropped']} dropped"
        return f"{text}, dry" if statistics.gate == "dry" else text

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

    def _report(
        self, summary: Summary, derainer: Derainer, names: Sequence[str]
    ) -> Report:
        manifest, psnr = derainer.bundle.manifest, derainer.golden_psnr_db
        return Report(
            frames=summary.frames,
            seconds=round(summary.seconds, 3),
            fps=round(summary.fps, 3),
            derain_ms=summary.derain_ms and round(summary.derain_ms, 3),
            model=manifest.model,
            precision=manifest.precision,
            backend=derainer.description,
            golden_psnr_db=None if math.isinf(psnr) else round(psnr, 2),
            sink=", ".join(names),
            statistics=self._statistics.as_dict(),
        )
