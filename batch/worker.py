"""What derains clips, one after the other, with a bundle that it has loaded once."""

from __future__ import annotations

import contextlib
import glob
import importlib.metadata
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from derain.batch.clips import ClipRecipe, ClipRecord, ClipTask
from derain.batch.storage import ANY_ERROR, Place, line
from derain.core.errors import DerainError, StreamError
from derain.core.scratch import ScratchFolder
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.options import RunKeywords
from derain.runtime.pipeline.run import run

_log = logging.getLogger(__name__)
_NAME_LENGTH = 40  # of the result's name in that of its part; names end at 255
_RANDOM_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOutcome:
    """What became of a clip.

    Attributes:
        state: ``stopped``: there was no time to finish; nothing is left of it.
        frames: Of the result.
        seconds: How long it took.
        cpu_seconds: Processor time of all threads.
        error: One line; empty unless it failed.
    """

    state: Literal["done", "failed", "stopped"]
    frames: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""


class ClipWorker:
    """Holds a bundle, and derains clips with it.

    Args:
        bundle: Folder of the bundle.
        recipe: For the records.
        options: Of `derain.run`.
        stopped: Asked before every frame whether to stop there.
    """

    def __init__(
        self,
        bundle: str,
        recipe: ClipRecipe,
        options: RunKeywords,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bundle = bundle
        self._recipe = recipe
        self._options = options
        self._stopped = stopped
        self._derainer: Derainer | None = None

    def open(self) -> str:
        """Load the bundle; the error in one line, or nothing."""
        backend, threads = self._options["backend"], self._options["threads"]
        try:
            self._derainer = Derainer(self._bundle, backend, threads)
        except DerainError as error:
            return line(error)
        return ""

    def description(self) -> str:
        """What really runs the graph."""
        assert self._derainer is not None
        return self._derainer.description

    def derain(self, clip: ClipTask) -> ClipOutcome:
        """Derain a clip, beside its result, which is there in the end or is not."""
        assert self._derainer is not None
        started, cpu_started = time.perf_counter(), time.process_time()
        result, part = Place.of(clip.result), part_name(clip)
        try:
            is_local = result.is_local and Place.of(clip.source).is_local
            # None where none is needed: a worker that is killed leaves it to the next.
            with (
                contextlib.nullcontext("")
                if is_local
                else ScratchFolder("derain-batch-")
            ) as scratch:
                frames = self._derain(clip, result, part, Path(scratch))
        except ANY_ERROR as error:  # a bug, too: the other clips go on all the same
            _log.debug(f"{clip.source} failed", exc_info=error)
            text = _reason(error).replace(part, result.path.rpartition("/")[2])
            return ClipOutcome(state="failed", error=text)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
        if frames is None:
            return ClipOutcome(state="stopped", seconds=seconds)
        return ClipOutcome(
            state="done", frames=frames, seconds=seconds, cpu_seconds=cpu_seconds
        )

    def _derain(
        self, clip: ClipTask, result: Place, part_name: str, scratch: Path
    ) -> int | None:
        """The number of frames; None when it was stopped."""
        assert self._derainer is not None
        source = Place.of(clip.source)
        target = Path(result.path)
        folder = target.parent if result.is_local else scratch
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / part_name
        try:
            stamp = source.stamp()
            with source.readable(scratch) as here:
                hashed = Place.of(str(here)).sha256()
                self._derainer.reset()
                report = run(
                    self._derainer, here, part, stopped=self._stopped, **self._options
                )
            if self._stopped():
                return None
            record = ClipRecord(
                source=str(source),
                stamp=stamp,
                source_sha256=hashed,
                recipe=self._recipe,
                result_bytes=part.stat().st_size,
                frames=report.frames,
                derain=importlib.metadata.version("derain"),
            )
            # In this order, so that whatever ends us in between leaves no result, or
            # one that fits its record.
            result.remove()
            Place.of(clip.record).write(record.to_json())
            result.accept(part, part_name)
            return report.frames
        finally:
            _remove(folder, glob.escape(part.stem), part.suffix)


def _reason(error: BaseException) -> str:
    if isinstance(error, StreamError) and error.__cause__ is not None:
        error = error.__cause__  # without where the beginning is kept: it is not
    if isinstance(error, (DerainError, OSError)):
        return line(error)
    return f"{type(error).__name__}: {line(error)}"  # a bug: its type helps


def part_name(clip: ClipTask) -> str:
    """A name for what is not whole yet, nobody else's: hidden, of the same kind."""
    name = PurePosixPath(clip.name)
    random = secrets.token_hex(_RANDOM_BYTES)
    return f".{name.stem[:_NAME_LENGTH]}-{random}.part{name.suffix}"


def remove_parts(clip: ClipTask) -> None:
    """Remove what a worker has left of `clip` that was killed meanwhile."""
    place, name = Place.of(clip.result), PurePosixPath(clip.name)
    if not place.is_local:
        return  # it worked in a temporary folder
    start = glob.escape(f".{name.stem[:_NAME_LENGTH]}-")
    random = "[0-9a-f]" * (2 * _RANDOM_BYTES)
    _remove(Path(place.path).parent, f"{start}{random}.part", name.suffix)


def _remove(folder: Path, stems: str, suffix: str) -> None:
    """Remove parts, and what a sink calls them until they are whole."""
    for part in folder.glob(f"{stems}*{glob.escape(suffix)}"):
        with contextlib.suppress(OSError):
            part.unlink()
