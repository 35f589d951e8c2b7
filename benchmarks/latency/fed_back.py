"""The memory of a network that somebody runs by hand: what comes out goes in again.

For networks in PyTorch and graphs of a plain export, whose inputs are the pictures of a
window, the newest last, or the picture and the states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Tensor = TypeVar("Tensor")


class FedBack(Generic[Tensor]):
    """What goes in with the next picture.

    Args:
        window: Pictures that go in, 1 or more.
        start: Makes the states before a first picture.
    """

    def __init__(self, window: int, start: Callable[[], list[Tensor]]) -> None:
        self._window = window
        self._start = start
        self._pictures: list[Tensor] = []
        self._states: list[Tensor] | None = None

    def inputs(self, picture: Tensor) -> list[Tensor]:
        """All that goes in with `picture`, in order; a window begins full of it."""
        if self._states is None:
            self._states = self._start()
            self._pictures = [picture] * self._window
        self._pictures = [*self._pictures[1:], picture]
        return [*self._pictures, *self._states]

    def keep(self, states: Sequence[Tensor]) -> None:
        """What came out besides the picture."""
        self._states = list(states)

    def reset(self) -> None:
        """Forget all of it."""
        self._states = None
