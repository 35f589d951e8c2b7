"""How far a build is, from the library's tree of phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """The phases that run, each a step of the one it is in.

    Args:
        report: Called with the part that is done, from 0 to 1 and never less than
            before, and the name of the innermost phase.
    """

    def __init__(self, report: Callable[[float, str], None]) -> None:
        self._report = report
        self._phases: dict[str, _Phase] = {}
        self._done = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins."""
        self._phases[name] = _Phase(parent, max(steps, 1))
        self._tell(name)

    def step(self, name: str, step: int) -> None:
        """A phase has finished its step of that number, from 0."""
        if name in self._phases:
            self._phases[name].done = step + 1
            self._tell(name)

    def finish(self, name: str) -> None:
        """A phase ends."""
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
    """The monitor that keeps `tree` up to date, for the library `module`."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # chosen at run time
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            tree.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            tree.step(name, step)
            return True

        def phase_finish(self, name: str) -> None:
            tree.finish(name)

    return Monitor()
