"""A batch: every clip that is not done yet, derained by workers on Ray."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from derain.batch.clips import ClipRecipe, ClipTask, find_clips, to_do
from derain.batch.cluster import joined, places
from derain.batch.dispatch import Dispatcher
from derain.batch.options import BatchOptions
from derain.batch.report import BatchReport, TaskResult
from derain.core.bundle import Bundle
from derain.core.progress import Progress, clips_line

_log = logging.getLogger(__name__)


def run_batch(
    bundle: Path | str,
    sources: Iterable[str],
    output: str,
    options: BatchOptions,
    *,
    watch: Callable[[], Callable[[], object]] = lambda: lambda: False,
) -> BatchReport:
    """Derain clips that are not done yet.

    Args:
        bundle: The folder that ``derain-export`` made; on a cluster, every node must
            have it there.
        sources: See `find_clips`.
        output: A folder, or the URI of one.
        options: Of the batch.
        watch: Called once Ray runs, which has its own ways with signals; what it
            returns is asked several times a second whether to stop.

    Raises:
        DerainError: Before the first clip: something is not there, in the way, or does
            not work. What fails later is in the report.
    """
    started = time.perf_counter()
    folder = Path(bundle).absolute()
    recipe = ClipRecipe.of(Bundle.open(folder), options)
    clips = find_clips(sources, output)
    left = to_do(clips, recipe, force=options.force)
    current = len(clips) - len(left)
    _log.info(f"{len(clips)} clips, {current} of them are done")
    results: Sequence[TaskResult] = ()
    backends: Counter[str] = Counter()
    lost = 0
    if left:
        progress = Progress()
        verbose = _log.isEnabledFor(logging.DEBUG)
        try:
            with joined(options.address, verbose=verbose):
                stopped = watch()
                show = partial(_show, progress, left)
                dispatcher = Dispatcher(str(folder), recipe, options, show)
                dispatcher.run(left, places(options, len(left)), stopped)
        finally:
            progress.close()
        results, backends = dispatcher.results, dispatcher.backends
        lost = dispatcher.lost
    order = {clip.source: number for number, clip in enumerate(left)}
    return BatchReport(
        clips=sorted(results, key=lambda each: order[each.source]),
        current=current,
        seconds=time.perf_counter() - started,
        backends=dict(backends),
        lost_workers=lost,
    )


def _show(
    progress: Progress, clips: Sequence[ClipTask], results: Sequence[TaskResult]
) -> None:
    lengths = {clip.source: clip.bytes for clip in clips}
    whole = sum(lengths.values())
    part = sum(lengths[each.source] for each in results) / whole if whole else 0.0
    failed = sum(each.state == "failed" for each in results)
    frames = sum(each.frames for each in results)
    progress.update(partial(clips_line, len(results), len(clips), failed, frames, part))
