"""Clips to workers: what fails is tried once elsewhere, whoever dies is replaced."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from derain.batch.clips import ClipRecipe, ClipTask
from derain.batch.options import BatchOptions
from derain.batch.report import TaskResult
from derain.batch.storage import line
from derain.batch.worker import ClipOutcome, ClipWorker, remove_parts
from derain.core.errors import EngineError
from derain.runtime.pipeline.options import RunKeywords

_log = logging.getLogger(__name__)
_TICK_S = 0.1
_TRIES = 2
_STARTS = 3
_OPENS_S = 300.0  # a worker that has not loaded its bundle by then will not
_DIED = "died: killed, crashed, out of memory, or lost with its node"
_STOPS_S = 10.0  # time to finish the frame at hand after Ctrl-C


class RayClipWorker(ClipWorker):
    """A `ClipWorker` that stops when its task is cancelled; the class of the actors."""

    def __init__(self, bundle: str, recipe: ClipRecipe, options: RunKeywords) -> None:
        super().__init__(bundle, recipe, options, stopped=_is_cancelled)


def _is_cancelled() -> bool:
    return bool(ray.get_runtime_context().is_canceled())


@dataclass(slots=True)
class _Task:
    clip: ClipTask
    tries: int = 0
    avoid: int = -1  # the worker that has failed with it


@dataclass(slots=True)
class _Worker:
    number: int
    actor: Any
    running: Any  # what it does now, a reference of Ray; None: nothing
    task: _Task | None = None
    is_open: bool = False
    since: float = field(default_factory=time.monotonic)


class Dispatcher:
    """Has clips derained by actors, as many at a time as there are.

    Args:
        bundle: Folder of the bundle.
        recipe: For the records.
        options: Of the batch.
        progress: Told now and then what has become of how many clips.

    Attributes:
        results: What became of each clip so far.
        backends: What runs the graph, and in how many workers.
        lost: How many workers died.
    """

    def __init__(
        self,
        bundle: str,
        recipe: ClipRecipe,
        options: BatchOptions,
        progress: Callable[[Sequence[TaskResult]], None],
    ) -> None:
        self._make = ray.remote(RayClipWorker).options(
            num_cpus=options.cpus_per_actor,
            num_gpus=options.gpus_per_actor,
            max_restarts=0,
            max_task_retries=0,
        )
        self._arguments = (bundle, recipe, options.run_keywords())
        self._bundle = bundle
        self._progress = progress
        self._workers: dict[int, _Worker] = {}
        self._started = 0
        self._waiting: deque[_Task] = deque()
        self._never_open = 0  # workers that died before, in a row
        self._why_not = ""  # the last worker did not start
        self.results: list[TaskResult] = []
        self.backends: Counter[str] = Counter()
        self.lost = 0

    def run(
        self, clips: Sequence[ClipTask], actors: int, stopped: Callable[[], object]
    ) -> None:
        """Derain `clips` with so many `actors`, until that is done or `stopped`.

        The longest first, or the last one would keep one worker busy and no other.

        Raises:
            EngineError: No worker can load the bundle.
        """
        longest_first = sorted(clips, key=lambda clip: clip.bytes, reverse=True)
        self._waiting.extend(_Task(clip) for clip in longest_first)
        for _ in range(actors):
            self._start()
        while (self._waiting or self._busy()) and not stopped():
            if not self._workers:
                self._give_up()
                break
            self._assign()
            self._wait(_TICK_S)
            self._progress(self.results)
        self._stop()

    def _busy(self) -> list[_Worker]:
        return [each for each in self._workers.values() if each.task is not None]

    def _start(self) -> None:
        self._started += 1
        actor = self._make.remote(*self._arguments)
        worker = _Worker(self._started, actor, actor.open.remote())
        self._workers[worker.number] = worker

    def _assign(self) -> None:
        for worker in self._workers.values():
            if worker.running is None and worker.is_open and self._waiting:
                task = self._task_for(worker)
                if task is not None:
                    task.tries += 1
                    worker.task = task
                    worker.running = worker.actor.derain.remote(task.clip)

    def _task_for(self, worker: _Worker) -> _Task | None:
        alone = len(self._workers) == 1
        for task in self._waiting:
            if alone or task.avoid != worker.number:
                self._waiting.remove(task)
                return task
        return None

    def _wait(self, seconds: float) -> None:
        """Take note of what is finished, after so many `seconds` at most."""
        running = {
            each.running: each
            for each in self._workers.values()
            if each.running is not None
        }
        if not running:
            time.sleep(seconds)
            return
        finished, _ = ray.wait(list(running), num_returns=1, timeout=seconds)
        for reference in finished:
            self._finished(running[reference], reference)
        for worker in list(self._workers.values()):
            if not worker.is_open and time.monotonic() - worker.since > _OPENS_S:
                self._not_opened(worker, f"it took longer than {_OPENS_S:.0f} s")

    def _finished(self, worker: _Worker, reference: Any) -> None:
        try:
            result = ray.get(reference)
        except RayTaskError as error:  # a bug in the worker, which lives on
            result = ClipOutcome(state="failed", error=line(error.cause))
        except RayError as error:
            self._died(worker, error)
            return
        worker.running = None
        if worker.is_open:
            task, worker.task = worker.task, None
            assert task is not None
            self._settle(task, result, worker)
        elif isinstance(result, ClipOutcome):
            self._not_opened(worker, result.error)
        elif result:
            self._not_opened(worker, result)
        else:
            worker.is_open, self._never_open = True, 0
            self.backends[ray.get(worker.actor.description.remote())] += 1

    def _settle(self, task: _Task, outcome: ClipOutcome, worker: _Worker) -> None:
        if outcome.state == "done":
            self._note(task, "done", outcome)
        elif outcome.state == "failed" and task.tries < _TRIES:
            _log.warning(f"{_named(task, outcome)}; it is tried once more")
            task.avoid = worker.number
            self._waiting.append(task)
        elif outcome.state == "failed":
            _log.warning(f"{_named(task, outcome)}; the others go on")
            self._note(task, "failed", outcome)
        else:
            self._note(task, "left", ClipOutcome(state="stopped"))

    def _note(self, task: _Task, state: Any, outcome: ClipOutcome) -> None:
        self.results.append(
            TaskResult(
                source=task.clip.source,
                result=task.clip.result,
                state=state,
                frames=outcome.frames,
                seconds=outcome.seconds,
                cpu_seconds=outcome.cpu_seconds,
                tries=task.tries,
                error=outcome.error,
            )
        )

    def _died(self, worker: _Worker, error: RayError) -> None:
        """Its clip goes elsewhere, and another worker takes its place."""
        if getattr(error, "actor_init_failed", False):  # derain is not there
            self._not_opened(worker, str(error).strip().splitlines()[-1].strip())
            return
        self.lost += 1
        if not worker.is_open:
            self._never_open += 1
        if self._never_open >= _STARTS:
            self._not_opened(worker, f"it {_DIED}")
            return
        del self._workers[worker.number]
        ray.kill(worker.actor)  # it may only be out of reach
        self._start()
        if worker.task is not None:
            remove_parts(worker.task.clip)
            died = ClipOutcome(state="failed", error=f"its worker {_DIED}")
            self._settle(worker.task, died, worker)

    def _not_opened(self, worker: _Worker, why: str) -> None:
        del self._workers[worker.number]
        ray.kill(worker.actor)
        self._why_not = f"a worker could not open {self._bundle}: {why}"
        if self._workers:
            _log.warning(f"{self._why_not}; {len(self._workers)} go on")

    def _give_up(self) -> None:
        """Nobody is left to do the rest.

        Raises:
            EngineError: Nobody ever was.
        """
        if not self.results and not self.backends:
            raise EngineError(self._why_not)
        for task in self._waiting:
            nobody = f"no worker is left: {self._why_not}"
            self._note(task, "failed", ClipOutcome(state="failed", error=nobody))
        self._waiting.clear()

    def _stop(self) -> None:
        """Let nobody go on: frames at hand are finished, unfinished clips removed."""
        for worker in self._busy():
            ray.cancel(worker.running)
        running = [worker.running for worker in self._busy()]
        if running:
            ray.wait(running, num_returns=len(running), timeout=_STOPS_S)
        for worker in self._workers.values():
            ray.kill(worker.actor)
        for worker in self._busy():
            assert worker.task is not None
            self._waiting.append(worker.task)
            remove_parts(worker.task.clip)
        for task in self._waiting:
            self._note(task, "left", ClipOutcome(state="stopped"))


def _named(task: _Task, outcome: ClipOutcome) -> str:
    """What went wrong, with the name of the clip, once."""
    source, error = task.clip.source, outcome.error
    return error if source in error else f"{source}: {error}"
