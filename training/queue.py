"""Runs in turn, a slice of time each, until all are finished: ``derain-train queue``.

``runs.toml`` has a table for each run, with the long option names of ``derain-train``::

    [[run]]
    model = "qsnet"
    pairs = ["PAIRS"]
    clean = "PHOTOGRAPHS"
    hours = 12

A queue keeps nothing of its own: what was done stands in the folders of the runs, so
that it goes on where it was after any end, and the file may gain runs meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from derain.core.config_file import filled, read_toml
from derain.core.errors import ConfigError, DerainError, TrainingError
from derain.core.options import options_from
from derain.training.options import TrainingOptions
from derain.training.recipes import configured
from derain.training.run import train
from derain.training.run_folder import STATE, read_state

_TABLE = "run"
_log = logging.getLogger(__name__)


@click.command()
@options_from(TrainingOptions)
def _of_a_run(options: TrainingOptions) -> TrainingOptions:
    return options


def read_queue(path: Path) -> list[TrainingOptions]:
    """The runs in the TOML file `path`; folders are as seen from the current one.

    Raises:
        ConfigError: It cannot be read, has no runs or unknown keys, values do not fit,
            or two runs have one folder.
    """
    content = read_toml(path)
    if unknown := content.keys() - {_TABLE}:
        raise ConfigError(
            f"{path} has an unknown key {min(unknown)!r}; wanted [[{_TABLE}]] tables"
        )
    tables = content.get(_TABLE)
    if not (isinstance(tables, list) and tables):
        raise ConfigError(f"{path} has no [[{_TABLE}]] tables")
    runs, folders = [], set()
    for number, table in enumerate(tables, 1):
        place = f"{path}, run {number}"
        if not isinstance(table, dict):
            raise ConfigError(f"{place} is {table!r}, wanted a table")
        options: TrainingOptions = filled(place, table, _of_a_run)
        try:
            configured(options)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
        if options.folder.resolve() in folders:
            raise ConfigError(
                f"{place}: another run has the folder {options.folder}; give an output"
            )
        folders.add(options.folder.resolve())
        runs.append(options)
    return runs


def run_queue(
    runs: list[TrainingOptions], slice_minutes: float, stop: Callable[[], bool]
) -> Iterator[str]:
    """Train `runs` in turn, and say of each slice what it did, in a line.

    Whichever waits longest is next, by the age of its last checkpoint; so it is after a
    new start, too. A run that fails is left out, and the others go on.

    Args:
        runs: What `read_queue` returned.
        slice_minutes: Training time of a slice; at least one step is made.
        stop: Asked before every step; the run at hand is saved then.

    Raises:
        TrainingError: Runs failed; the others are finished.
    """
    waiting = list(runs)
    failed = []
    for options in runs:
        if _is_finished(options):
            waiting.remove(options)
            yield f"{options.folder}: finished before"
    while waiting and not stop():
        options = min(waiting, key=_last_saved)
        try:
            trainer = train(options, stop=_Slice(60 * slice_minutes, stop))
        except DerainError as error:
            _log.warning("%s failed and is left out: %s", options.folder, error)
            failed.append(str(options.folder))
            waiting.remove(options)
            continue
        if finished := trainer.progress >= 1:
            waiting.remove(options)
        yield (
            f"{options.folder}: steps {trainer.first_step} to {trainer.step}, "
            + ("finished" if finished else f"{trainer.progress:.0%} done")
        )
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}"
        )


class _Slice:
    """Whether a slice is over: `seconds` after the first question, or at `stop`."""

    def __init__(self, seconds: float, stop: Callable[[], bool]) -> None:
        self._seconds, self._stop = seconds, stop
        self._end: float | None = None  # pictures are read before training starts

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._seconds
            return self._stop()
        return self._stop() or now >= self._end


def _last_saved(options: TrainingOptions) -> int:
    try:
        return (options.folder / STATE).stat().st_mtime_ns
    except OSError:
        return 0


def _is_finished(options: TrainingOptions) -> bool:
    if not (options.folder / STATE).is_file():
        return False
    try:
        state = read_state(options.folder)
        config = configured(options)
        return config.progress(state["step"], state["seconds"]) >= 1
    except (DerainError, KeyError):
        return False  # training it says what is wrong
