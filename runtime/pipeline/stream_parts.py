"""What one source of a run needs, opened: its capture, its sinks, its options."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import cast

from derain.core.sizes import Size
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.opening import opened_apart
from derain.runtime.pipeline.options import CameraOptions
from derain.runtime.pipeline.rain_gate import RainGate
from derain.runtime.pipeline.views import ViewedSink, view_info
from derain.runtime.session import Session
from derain.runtime.telemetry.statistics import About, Statistics
from derain.runtime.video.frames import Sink, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
from derain.runtime.video.sources import open_source
from derain.runtime.video.uris import public

_log = logging.getLogger(__name__)


def open_capture(
    source: str, options: CameraOptions, statistics: Statistics, name: str = ""
) -> Capture:
    """Open `source`, and read it from now on.

    Raises:
        DerainError: It cannot be opened.
    """
    reopen = partial(open_source, source, cast("Fraction | None", options.fps))
    settings = {"name": name} if name else {}
    opened = opened_apart(reopen)
    return Capture(opened, statistics, limit=options.limit, reopen=reopen, **settings)


def open_sinks(
    uris: Sequence[str],
    info: SourceInfo,
    options: CameraOptions,
    statistics: Statistics,
) -> list[Sink]:
    """Check where frames of `info` go, and open that; nothing is written yet.

    Raises:
        DerainError: One cannot be opened; the others are closed.
    """
    with ExitStack() as opened:
        sinks = [
            opened.enter_context(closing(_open_sink(uri, info, options, statistics)))
            for uri in uris
        ]
        opened.pop_all()
    if options.max_latency_ms is not None and not info.live:
        _log.warning(
            "--max-latency-ms is for live sources; of a file, every frame counts"
        )
    return sinks


def stream_options(
    options: CameraOptions,
    statistics: Statistics,
    choose: Callable[[Size], Session] | None,
    name: str = "",
) -> LoopOptions:
    """How the frames of one source are limited."""
    return LoopOptions(
        name=name,
        limit=options.limit,
        resize=options.resize,
        choose=choose,
        gate=RainGate() if options.gate == "auto" else None,
        max_latency_ms=options.max_latency_ms,
        late=options.late,
        priority=options.priority,
        statistics=statistics,
    )


def about(source: str, derainer: Derainer) -> About:
    """What runs; of a path its last part alone, as pages show it to others."""
    name = public(source)
    if "://" not in name and not name.startswith("gst:"):
        name = Path(name).name or name
    return About(
        source=name,
        bundle=derainer.bundle.folder.name,
        backend=derainer.description,
        version=importlib.metadata.version("derain"),
    )


def _open_sink(
    uri: str, info: SourceInfo, options: CameraOptions, statistics: Statistics
) -> Sink:
    wanted = SinkOptions(force=options.force, crf=options.crf, limit=options.limit)
    sink = open_sink(uri, view_info(info, options.view), wanted)
    if options.view == "derained" and not options.overlay:
        return sink

    def overlay() -> str:
        text = f"{statistics.fps:.1f} frames/s, {statistics['dropped']} dropped"
        return f"{text}, dry" if statistics.gate == "dry" else text

    return ViewedSink(sink, options.view, overlay if options.overlay else None)
