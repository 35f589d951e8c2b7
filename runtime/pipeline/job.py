"""One run of ``derain-run``: everything that its options open, in the right order."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from derain.core.bundle import Bundle
from derain.core.interrupts import Interrupts
from derain.core.progress import Progress, frames_line
from derain.runtime.bundles import BundleChoice
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.deadline import Late
from derain.runtime.pipeline.loop import LoopOptions, Summary, run_loop
from derain.runtime.pipeline.rain_gate import RainGate
from derain.runtime.pipeline.views import View, ViewedSink, view_info
from derain.runtime.preview import open_preview, preview_notes
from derain.runtime.telemetry.prometheus import MetricsServer
from derain.runtime.telemetry.reporter import Reporter, Style
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.telemetry.systemd import Notifier
from derain.runtime.video.frames import Sink, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
from derain.runtime.video.sources import open_source

_log = logging.getLogger(__name__)

# What ONNX Runtime makes of precisions that are for a GPU, against FP32 at 512x512.
# FP16 takes as long for qsnet, 1.2 times as long for granet, 1.3 for nledn, 1.6 for
# stagewise, 2.2 for treefusion; INT8 takes 2.6 times as long for qsnet.
_SLOWER = {
    "fp16": "processors emulate FP16: a bundle exported with --fp32 is as fast here "
    "or faster",
    "int8": "ONNX Runtime's processor runs INT8 slower than FP32: give --backend "
    "openvino on x86 (pip install 'derain[openvino]'), or export with --fp32",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the user asked for; the options of ``derain-run`` say what each means.

    Attributes:
        bundle: Folder of the bundle.
        bundles: Folders of bundles for frames of other sizes.
        source: Where frames come from.
        sinks: Where they go.
        stats: How statistics are written; None: not at all.
        stats_every_s: How often.
        metrics: Host and port of the metrics; None: none.
        preview: Host and port of the page; None: none.
        preview_token: What its viewers must know; None: nothing.
    """

    bundle: Path
    source: str
    sinks: Sequence[str]
    bundles: Sequence[Path] = ()
    resize: bool = False
    backend: str
    threads: int = 0
    limit: int | None = None
    fps: Fraction | None = None
    crf: int
    force: bool = False
    view: View = "derained"
    overlay: bool = False
    max_latency_ms: float | None = None
    late: Late = "drop"
    gate: bool = False
    stats: Style | None = None
    stats_every_s: float = 5.0
    metrics: tuple[str, int] | None = None
    preview: tuple[str, int] | None = None
    preview_token: str | None = None


def run_job(
    job: Job,
    interrupts: Interrupts,
    write: Callable[[str], None],
) -> dict[str, Any]:
    """Do `job`, and return what is to be said about it.

    Args:
        job: What to do.
        interrupts: Asked whether to stop.
        write: Takes the lines of statistics.

    Raises:
        DerainError: Something cannot be opened, or fails.
    """
    statistics, notifier = Statistics(), Notifier()
    with ExitStack() as stack:
        opened = stack.enter_context(ExitStack())
        reopen = partial(open_source, job.source, job.fps)
        # From here on it is read, so that frames are new when the network is loaded.
        source = opened.enter_context(
            Capture(reopen(), statistics, limit=job.limit, reopen=reopen)
        )
        sinks = [
            opened.enter_context(closing(_open_sink(job, uri, source.info, statistics)))
            for uri in job.sinks
        ]
        if job.preview is not None:
            page = open_preview(statistics, *job.preview, job.preview_token)
            sinks.append(opened.enter_context(closing(page)))
            for text in preview_notes(job.preview[0], page.port, job.preview_token):
                _log.warning(text)
        if job.max_latency_ms is not None and not source.info.live:
            _log.warning(
                "--max-latency-ms is for live sources; of a file, every frame counts"
            )
        bundle = Bundle.open(job.bundle)
        others = [Bundle.open(path) for path in job.bundles]
        if job.backend == "onnxruntime" and bundle.manifest.precision in _SLOWER:
            _log.warning(_SLOWER[bundle.manifest.precision])
        open_bundle = partial(Derainer, backend=job.backend, threads=job.threads)
        derainer = stack.enter_context(closing(open_bundle(bundle)))
        choice = stack.enter_context(
            closing(BundleChoice(derainer, others, open_bundle))
        )
        if job.metrics is not None:
            stack.enter_context(MetricsServer(statistics, *job.metrics))
        if job.stats is not None:
            stack.enter_context(
                Reporter(statistics, job.stats, job.stats_every_s, write)
            )
        options = LoopOptions(
            limit=job.limit,
            resize=job.resize,
            choose=choice.choose if others else None,
            gate=RainGate() if job.gate else None,
            max_latency_ms=job.max_latency_ms,
            late=job.late,
            statistics=statistics,
            stopped=partial(_stopped, interrupts, notifier),
            heartbeat=notifier.heartbeat,
        )
        with _progress(job, source.info) as update:
            notifier.ready()
            opened.pop_all()  # the run closes them, in the threads that use them
            summary = run_loop(
                source, derainer, sinks, replace(options, progress=update)
            )
        for text in (*derainer.notes, *(text for sink in sinks for text in sink.notes)):
            _log.warning(text)
        places = [sink.name for sink in sinks]
        if job.sinks and job.preview is not None:  # the page is last
            places.pop()
        return _report(summary, derainer, statistics, places)


def _open_sink(job: Job, uri: str, info: SourceInfo, statistics: Statistics) -> Sink:
    options = SinkOptions(force=job.force, crf=job.crf, limit=job.limit)
    sink = open_sink(uri, view_info(info, job.view), options)
    if job.view == "derained" and not job.overlay:
        return sink
    return ViewedSink(
        sink, job.view, partial(_overlay, statistics) if job.overlay else None
    )


def _overlay(statistics: Statistics) -> str:
    text = f"{statistics.fps:.1f} frames/s, {statistics['dropped']} dropped"
    return f"{text}, dry" if statistics.gate == "dry" else text


def _stopped(interrupts: Interrupts, notifier: Notifier) -> bool:
    if interrupts.received is None:
        return False
    notifier.stopping()
    return True


@contextmanager
def _progress(job: Job, info: SourceInfo) -> Iterator[Callable[[int], None]]:
    if job.stats is not None:
        yield lambda done: None
        return
    total = info.frames
    if job.limit is not None:
        total = job.limit if total is None else min(job.limit, total)
    progress = Progress()
    try:
        yield lambda done: progress.update(partial(frames_line, done, total))
    finally:
        progress.close()


def _report(
    summary: Summary, derainer: Derainer, statistics: Statistics, places: Sequence[str]
) -> dict[str, Any]:
    manifest = derainer.bundle.manifest
    psnr = derainer.golden_psnr_db
    return {
        "frames": summary.frames,
        "seconds": round(summary.seconds, 3),
        "fps": round(summary.fps, 3),
        "derain_ms": summary.derain_ms and round(summary.derain_ms, 3),
        "model": manifest.model,
        "precision": manifest.precision,
        "backend": derainer.description,
        "golden_psnr_db": None if math.isinf(psnr) else round(psnr, 2),
        "sink": ", ".join(places),
        "statistics": statistics.as_dict(),
    }
