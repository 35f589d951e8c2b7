"""How far a build is, from the library's tree of phases."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt as trt

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """The phases that run, each a step of the one it is in.

    The library calls from several threads at a time.

    Args:
        report: Called with the part that is done, from 0 to 1 and never less than
            before, and the name of the innermost phase.
    """

    def __init__(self, report: Callable[[float, str], None]) -> None:
        self._report = report
        self._phases: dict[str, _Phase] = {}
        self._done = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(steps, 1))
            self._tell(name)

    def step(self, name: str, step: int) -> None:
        """A phase has finished its step of that number, from 0."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
                self._tell(name)

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            self._phases.pop(name, None)

    def _tell(self, name: str) -> None:
        part = 0.0
        at: str | None = name
        while at in self._phases:
            phase = self._phases[at]
            part = min(1.0, (phase.done + part) / phase.steps)
            at = phase.parent
        self._done = max(self._done, part)
        self._report(self._done, name)


def progress_monitor(module: Any, tree: PhaseTree) -> trt.IProgressMonitor:
    """The monitor that keeps `tree` up to date, for the library `module`.

    What goes wrong in it is logged: an exception would cancel the build.
    """

    def quietly(step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # whatever it is, the engine matters more
            _log.debug("progress of the build is not shown: %s", error)

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # chosen at run time
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            quietly(lambda: tree.start(name, parent, steps))

        def step_complete(self, name: str, step: int) -> bool:
            quietly(lambda: tree.step(name, step))
            return True

        def phase_finish(self, name: str) -> None:
            quietly(lambda: tree.finish(name))

    return Monitor()
