"""What two workers bring over one: ``python -m derain.batch.speedup BUNDLE SOURCE``.

Both derain the same clips, in turns: one worker in this process, with one thread, which
is ``derain-run`` without the start of a process for each clip; then as many on Ray,
their start included. Nothing is kept.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from derain.batch.clips import Clip, ClipRecipe, find_clips
from derain.batch.cluster import joined
from derain.batch.dispatch import Dispatcher
from derain.batch.options import BatchOptions
from derain.batch.worker import ClipWorker
from derain.core.bundle import Bundle
from derain.core.commands import Command
from derain.core.errors import BenchmarkError


def one_worker(bundle: str, recipe: ClipRecipe, clips: Sequence[Clip]) -> float:
    """Frames per second of a worker in this process.

    Raises:
        BenchmarkError: A clip failed.
    """
    worker = ClipWorker(bundle, recipe, BatchOptions().run_keywords())
    started, frames = time.perf_counter(), 0
    if error := worker.open():
        raise BenchmarkError(error)
    for clip in clips:
        outcome = worker.derain(clip)
        if outcome.error:
            raise BenchmarkError(f"{clip.source}: {outcome.error}")
        frames += outcome.frames
    return frames / (time.perf_counter() - started)


def many_workers(
    bundle: str, recipe: ClipRecipe, clips: Sequence[Clip], actors: int
) -> float:
    """Frames per second of so many `actors`.

    Raises:
        BenchmarkError: A clip failed.
    """
    started = time.perf_counter()
    dispatcher = Dispatcher(bundle, recipe, BatchOptions(), lambda results: None)
    dispatcher.run(clips, actors, lambda: False)
    seconds = time.perf_counter() - started
    for each in dispatcher.results:
        if each.error:
            raise BenchmarkError(f"{each.source}: {each.error}")
    return sum(each.frames for each in dispatcher.results) / seconds


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("--actors", default=2, show_default=True, help="How many at a time.")
@click.option("--rounds", default=3, show_default=True, help="How often each.")
def main(bundle: Path, source: str, actors: int, rounds: int) -> None:
    """Measure what ACTORS workers bring over one, on the clips of SOURCE."""
    folder = str(bundle.absolute())
    recipe = ClipRecipe.of(Bundle.open(folder), BatchOptions())
    rows = []
    with joined(None, verbose=False):
        for _ in range(rounds):
            speeds = []
            for alternative in ("one", "many"):
                with tempfile.TemporaryDirectory() as output:
                    clips = find_clips([source], output)
                    speeds.append(
                        one_worker(folder, recipe, clips)
                        if alternative == "one"
                        else many_workers(folder, recipe, clips, actors)
                    )
            load = os.getloadavg()[0]
            rows.append({"one": speeds[0], "many": speeds[1], "load": load})
            click.echo(json.dumps(rows[-1]), err=True)
    ratios = [row["many"] / row["one"] for row in rows]
    click.echo(
        f"{actors} actors: {statistics.median(ratios):.2f} times one worker "
        f"[{min(ratios):.2f}-{max(ratios):.2f}], {os.cpu_count()} cores, "
        f"load {rows[-1]['load']:.1f}"
    )


if __name__ == "__main__":
    main()
