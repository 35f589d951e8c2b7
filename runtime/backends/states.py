"""What one stream of frames has left behind: two sets of buffers, swapped.

A frame reads one set and writes the other; then they change places. Nothing is copied,
and nothing is made but for the first frame of a size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, StateError
from derain.core.manifest import Manifest
from derain.core.sizes import Size

Buffer = TypeVar("Buffer")

HEALTH = "health"  # output: 0 while all states are finite, NaN otherwise
NOT_FINITE = (
    "a state of the network is no longer finite (NaN or infinite) after this frame; "
    "the memory was reset"
)


class SwappedStates(Generic[Buffer]):
    """The `Memory` of a backend that keeps states in buffers of its own kind.

    Args:
        manifest: Of the bundle.
        allocate: Makes a buffer of a shape and dtype.
        fill: Copies an array into a buffer.
    """

    def __init__(
        self,
        manifest: Manifest,
        allocate: Callable[[tuple[int, ...], np.dtype[np.generic]], Buffer],
        fill: Callable[[Buffer, NDArray[np.generic]], None],
    ) -> None:
        self._manifest = manifest
        self._allocate = allocate
        self._fill = fill
        self._sets: tuple[list[Buffer], list[Buffer]] = ([], [])
        self._frame_shape: tuple[int, ...] = ()
        self._shapes: list[tuple[int, ...]] = []
        self._first = True
        self._closed = False
        self.turn = 0  # which set the next frame reads: 0, or 1 with states

    def bindings(self, turn: int) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
        """Buffers by the names of the graph's inputs, and by those of its outputs."""
        read, written = self._sets[turn], self._sets[1 - turn]
        states = self._manifest.states
        return (
            {state.input: each for state, each in zip(states, read, strict=True)},
            {state.output: each for state, each in zip(states, written, strict=True)},
        )

    def begin(self, frame: NDArray[np.uint8]) -> bool:
        """Make ready for `frame`, `(1, H, W, 3)`.

        Returns:
            Whether the buffers are new.

        Raises:
            EngineError: It is closed, or states have no whole size for this frame.
        """
        if self._closed:
            raise EngineError("this memory is closed; make a new one")
        is_new = frame.shape != self._frame_shape
        if is_new:
            self._free()
            self._make_room(frame)
        if self._first:
            states = zip(
                self._manifest.states, self._sets[self.turn], self._shapes, strict=True
            )
            for state, buffer, shape in states:
                start = (
                    frame if state.start == "frame" else np.zeros(shape, state.dtype)
                )
                self._fill(buffer, start)
            self._first = False
        return is_new

    def end(self, health: float) -> None:
        """What the frame has written is what the next one reads.

        Args:
            health: The graph's output of that name; 0 where it has none.

        Raises:
            StateError: A state is not finite. The next frame is a first one.
        """
        if self._manifest.states:
            self.turn = 1 - self.turn
        if health != 0:  # also where it is not a number
            self.reset()
            raise StateError(NOT_FINITE)

    def reset(self) -> None:
        """See `Memory.reset`."""
        self._first = True

    def close(self) -> None:
        """See `Memory.close`."""
        self._closed = True
        self._free()

    def _make_room(self, frame: NDArray[np.uint8]) -> None:
        states, size = self._manifest.states, Size(frame.shape[2], frame.shape[1])
        try:
            shapes = self._manifest.state_shapes(size)
        except ValueError as error:
            raise EngineError(f"no states fit a frame of {size}: {error}") from error
        first, second = (
            [
                self._allocate(shape, np.dtype(state.dtype))
                for state, shape in zip(states, shapes, strict=True)
            ]
            for _ in range(2)
        )
        self._sets, self._shapes = (first, second), shapes
        self._frame_shape = frame.shape
        self._first = True

    def _free(self) -> None:
        """Let go of the buffers."""
        self._sets, self._frame_shape = ([], []), ()


def check_names(
    bundle: Bundle, inputs: Collection[str], outputs: Collection[str]
) -> None:
    """See that a graph has the states that its manifest names, and no others.

    Args:
        bundle: Whose graph it is.
        inputs: Names of the graph's inputs, the frame first.
        outputs: Names of its outputs, the derained frame first.

    Raises:
        EngineError: It has not.
    """
    states = bundle.manifest.states
    for kind, names, wanted in (
        ("inputs", inputs, [state.input for state in states]),
        ("outputs", outputs, [state.output for state in states]),
    ):
        if not names:
            raise EngineError(
                f"{bundle.model_path} is no frame-to-frame graph: it has no {kind}"
            )
        found = [name for name in list(names)[1:] if name != HEALTH]
        if sorted(found) != wanted:
            raise EngineError(
                f"{bundle.model_path} has states among its {kind} that its manifest "
                f"has not, or lacks some: got {', '.join(found) or 'none'}, wanted "
                f"{', '.join(wanted) or 'none'}; export it again"
            )
