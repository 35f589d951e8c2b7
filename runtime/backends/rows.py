"""What graphs of several rows have in common, whatever runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from derain.core.batch_file import of_row
from derain.core.bundle import Bundle
from derain.core.errors import EngineError, StateError


class _Remembers(Protocol):
    def end(self, health: float) -> None:
        """See `SwappedStates.end`."""

    def close(self) -> None:
        """See `Memory.close`."""


Kept = TypeVar("Kept", bound=_Remembers)


class Rows(Generic[Kept]):
    """Fills the rows of a graph, and tells what became of each.

    A row without a frame gets the first one again, and a memory that nobody reads.

    Args:
        count: How many rows there are.
        new_memory: Makes a memory of the backend.
    """

    def __init__(self, count: int, new_memory: Callable[[], Kept]) -> None:
        self.count = count
        self._new_memory = new_memory
        self._spare: list[Kept] = []

    def filled(
        self, frames: Sequence[NDArray[np.uint8]], memories: Sequence[Kept]
    ) -> list[tuple[NDArray[np.uint8], Kept]]:
        """A frame and a memory for each row, the given ones first."""
        idle = self.count - len(frames)
        while len(self._spare) < idle:
            self._spare.append(self._new_memory())
        given = list(zip(frames, memories, strict=True))
        return given + [(frames[0], spare) for spare in self._spare[:idle]]

    @staticmethod
    def ended(
        pictures: Sequence[tuple[NDArray[np.uint8], float]], memories: Sequence[Kept]
    ) -> list[NDArray[np.uint8] | StateError]:
        """What `BatchedGraph.infer` returns of pictures and their states' health."""
        outcomes: list[NDArray[np.uint8] | StateError] = []
        for (picture, health), memory in zip(pictures, memories, strict=False):
            try:
                memory.end(health)
                outcomes.append(picture)
            except StateError as error:
                outcomes.append(error)
        return outcomes

    def close(self) -> None:
        """Free the memories that nobody reads."""
        while self._spare:
            self._spare.pop().close()


def check_rows(
    bundle: Bundle,
    one: tuple[Collection[str], Collection[str]],
    several: tuple[Collection[str], Collection[str]],
) -> None:
    """See that a graph of several rows is that of one, as often.

    Args:
        bundle: Whose graph it is.
        one: Names of the inputs and the outputs of the graph that takes one frame.
        several: Of the other one.

    Raises:
        EngineError: It is not.
    """
    rows = range(bundle.manifest.batch)
    for names, found in zip(one, several, strict=True):
        wanted = {of_row(name, row) for name in names for row in rows}
        if wanted != set(found):
            other = ", ".join(sorted(wanted ^ set(found))[:3])
            raise EngineError(
                f"{bundle.batch_path} is not {bundle.manifest.batch} times the graph "
                f"of {bundle.model_path}: {other}; export it again"
            )
