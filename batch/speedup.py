"""What several workers bring over one: ``python -m derain.batch.speedup``.

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

from derain.batch.clips import ClipRecipe, ClipTask, find_clips
from derain.batch.cluster import joined
from derain.batch.dispatch import Dispatcher
from derain.batch.options import BatchOptions
from derain.batch.worker import ClipWorker
from derain.core.bundle import Bundle
from derain.core.commands import Command
from derain.core.errors import BenchmarkError

# Frames a second by the clock; seconds of the processor for a frame, those of the
# network's thread and those of all threads.
_Speed = tuple[float, float, float]


def one_worker(bundle: str, recipe: ClipRecipe, clips: Sequence[ClipTask]) -> _Speed:
    """How fast a worker in this process is.

    Raises:
        BenchmarkError: A clip failed.
    """
    worker = ClipWorker(bundle, recipe, BatchOptions().run_keywords())
    started = time.perf_counter()
    if error := worker.open():
        raise BenchmarkError(error)
    thread, frames, cpu = time.thread_time(), 0, 0.0
    for clip in clips:
        outcome = worker.derain(clip)
        if outcome.error:
            raise BenchmarkError(f"{clip.source}: {outcome.error}")
        frames += outcome.frames
        cpu += outcome.cpu_seconds
    thread = time.thread_time() - thread
    seconds = time.perf_counter() - started
    return frames / seconds, thread / frames, cpu / frames


def many_workers(
    bundle: str, recipe: ClipRecipe, clips: Sequence[ClipTask], actors: int
) -> _Speed:
    """How fast so many `actors` are.

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
    frames = sum(each.frames for each in dispatcher.results)
    cpu = sum(each.cpu_seconds for each in dispatcher.results) / frames
    return frames / seconds, 0.0, cpu


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("--actors", default=2, show_default=True, help="How many at a time.")
@click.option("--rounds", default=3, show_default=True, help="How often each.")
def main(bundle: Path, source: str, actors: int, rounds: int) -> None:
    """Measure what so many actors bring over one worker, on the clips of SOURCE.

    By the clock, which other programs disturb; and by the time of the processor, as a
    machine with a core for each actor and nothing else to do would have it: one worker
    is as fast as its network's thread, actors as fast as all their threads together.
    """
    folder = str(bundle.absolute())
    recipe = ClipRecipe.of(Bundle.open(folder), BatchOptions())
    clock, processor = [], []
    with joined(None, verbose=False):
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as output:
                one = one_worker(folder, recipe, find_clips([source], output))
            with tempfile.TemporaryDirectory() as output:
                clips = find_clips([source], output)
                many = many_workers(folder, recipe, clips, actors)
            clock.append(many[0] / one[0])
            processor.append(actors * one[1] / many[2])
            row = {"one": one, "many": many, "load": os.getloadavg()[0]}
            click.echo(json.dumps(row), err=True)
    for name, ratios in (("clock", clock), ("processor time", processor)):
        click.echo(
            f"by the {name}: {actors} actors are {statistics.median(ratios):.2f} times "
            f"one worker [{min(ratios):.2f}-{max(ratios):.2f}]"
        )
    click.echo(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
