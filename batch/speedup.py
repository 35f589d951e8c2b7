"""What several workers bring over one: ``python -m derain.batch.speedup``.

Both derain the same clips, in turns: one worker in this process, with one thread, which
is ``derain-run`` without the start of a process for each clip; then as many on a Ray of
their own, as ``derain-batch`` starts it. Nothing is kept.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Speed:
    """How long it took to derain all clips, bundles opened and closed.

    Attributes:
        seconds: By the clock; without `ray_s`.
        ray_s: Until Ray ran.
        open_s: From there until the last worker had opened the bundle.
        thread_ms: Of the processor, for a frame, in the network's thread.
        cpu_ms: Of the processor, for a frame, in all threads.
    """

    seconds: float
    ray_s: float = 0.0
    open_s: float
    thread_ms: float = 0.0
    cpu_ms: float


def one_worker(bundle: str, recipe: ClipRecipe, clips: Sequence[ClipTask]) -> _Speed:
    """How fast a worker in this process is.

    Raises:
        BenchmarkError: A clip failed.
    """
    worker = ClipWorker(bundle, recipe, BatchOptions().run_keywords())
    started = time.perf_counter()
    if error := worker.open():
        raise BenchmarkError(error)
    open_s = time.perf_counter() - started
    thread, frames, cpu = time.thread_time(), 0, 0.0
    for clip in clips:
        outcome = worker.derain(clip)
        if outcome.error:
            raise BenchmarkError(f"{clip.source}: {outcome.error}")
        frames += outcome.frames
        cpu += outcome.cpu_seconds
    return _Speed(
        seconds=time.perf_counter() - started,
        open_s=open_s,
        thread_ms=1000 * (time.thread_time() - thread) / frames,
        cpu_ms=1000 * cpu / frames,
    )


def many_workers(
    bundle: str, recipe: ClipRecipe, clips: Sequence[ClipTask], actors: int
) -> _Speed:
    """How fast so many `actors` are.

    Raises:
        BenchmarkError: A clip failed.
    """
    open_s: list[float] = []

    def note(results: object) -> None:
        if not open_s and dispatcher.backends.total() == actors:
            open_s.append(time.perf_counter() - started)

    before = time.perf_counter()
    # A Ray for each round: one that has run before has no processes that wait for work.
    with joined(None, verbose=False):
        started = time.perf_counter()
        dispatcher = Dispatcher(bundle, recipe, BatchOptions(), note)
        dispatcher.run(clips, actors, lambda: False)
        seconds = time.perf_counter() - started
    for each in dispatcher.results:
        if each.error:
            raise BenchmarkError(f"{each.source}: {each.error}")
    frames = sum(each.frames for each in dispatcher.results)
    return _Speed(
        seconds=seconds,
        ray_s=started - before,
        open_s=open_s[0] if open_s else seconds,
        cpu_ms=1000 * sum(each.cpu_seconds for each in dispatcher.results) / frames,
    )


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("--actors", default=2, show_default=True, help="How many at a time.")
@click.option("--rounds", default=3, show_default=True, help="How often each.")
def main(bundle: Path, source: str, actors: int, rounds: int) -> None:
    """Measure what so many actors bring over one worker, on the clips of SOURCE.

    By the clock, which other programs disturb, and with it how long Ray and the actors
    take to start, which they do once a batch; and by the time of the processor, as a
    machine with a core for each actor and nothing else to do would have it: one worker
    is as fast as its network's thread, actors as fast as all their threads together.
    """
    folder = str(bundle.absolute())
    recipe = ClipRecipe.of(Bundle.open(folder), BatchOptions())
    ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as output:
            one = one_worker(folder, recipe, find_clips([source], output))
        with tempfile.TemporaryDirectory() as output:
            many = many_workers(folder, recipe, find_clips([source], output), actors)
        once_open = (one.seconds - one.open_s) / (many.seconds - many.open_s)
        for name, ratio in (
            ("clock, once the workers are open", once_open),
            ("clock, with their start", one.seconds / many.seconds),
            ("clock, with Ray's start", one.seconds / (many.ray_s + many.seconds)),
            ("processor time", actors * one.thread_ms / many.cpu_ms),
        ):
            ratios.setdefault(name, []).append(ratio)
        row = {"one": asdict(one), "many": asdict(many), "load": os.getloadavg()[0]}
        click.echo(json.dumps(row), err=True)
    for name, found in ratios.items():
        click.echo(
            f"by the {name}: {actors} actors are {statistics.median(found):.2f} times "
            f"one worker [{min(found):.2f}-{max(found):.2f}]"
        )
    click.echo(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
