"""What one stream of frames remembers, on the device.

A state has two buffers: the network reads one and writes the other, and with the next
frame they change places. One buffer would not do: kernels write what a state becomes
while others still have to read what it was (TensorRT-RTX 1.7.1 orders them so).

They change places by their addresses, which a CUDA graph holds: there is a graph for
either turn. One graph, with a copy on the device behind the network, would read and
write each state once more for every frame: 14.7 MB for 16 channels at half of 1280x720
in FP16, as much again as the network itself has to. A second graph costs its capture,
once, and moves nothing.

Only one stream of the device touches states, in the order of the frames: uploads and
downloads of other frames run beside it, and nobody has to wait for a state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np

from derain.core.sizes import Size
from derain.runtime.cuda.device import Device, DeviceMemory, Stream, own
from derain.runtime.tensorrt.frame_slot import Slot
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine


class EngineMemory:
    """The states of one stream of frames; see `Memory`. The backend makes it.

    Nothing is allocated before the first frame, and then once for frames of its size.

    Args:
        device: Where.
        engine: Whose states they are.
        on_close: Lets the backend wait until the device has done with them, and `free`.

    Attributes:
        size: Of the frames that the buffers are for; None before the first.
        turn: 0 or 1: which of its two buffers each state is read from.
    """

    def __init__(
        self,
        device: Device,
        engine: TensorRtEngine,
        on_close: Callable[[EngineMemory], None],
    ) -> None:
        self.size: Size | None = None
        self.turn = 0
        self._device = device
        self._engine = engine
        self._on_close = on_close
        self._first = True
        self._buffers: list[tuple[DeviceMemory, DeviceMemory]] = []
        self._bytes: list[int] = []
        self._addresses: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
        self._resources = ExitStack()

    @property
    def addresses(self) -> Mapping[str, int]:
        """Of the states that the next frame reads and writes, by their tensors."""
        return self._addresses[self.turn]

    def reset(self) -> None:
        """See `Memory.reset`: the device is told with the next frame."""
        self._first = True

    def close(self) -> None:
        """See `Memory.close`.

        Raises:
            EngineError: This is another thread, or the device failed.
        """
        self._on_close(self)

    def allocate(self, size: Size) -> None:
        """Make room for the states of frames of `size`; there is none yet.

        Raises:
            EngineError: There is too little memory.
        """
        shapes = self._engine.state_shapes(size)
        states = self._engine.states
        self._bytes = [
            math.prod(shape) * np.dtype(state.dtype).itemsize
            for state, shape in zip(states, shapes, strict=True)
        ]
        with ExitStack() as stack:
            self._buffers = [
                (
                    own(stack, self._device.device_memory(size_bytes)),
                    own(stack, self._device.device_memory(size_bytes)),
                )
                for size_bytes in self._bytes
            ]
            self._resources = stack.pop_all()
        even: dict[str, int] = {}
        odd: dict[str, int] = {}
        for state, (a, b) in zip(states, self._buffers, strict=True):
            even |= {state.input: a.address, state.output: b.address}
            odd |= {state.input: b.address, state.output: a.address}
        self._addresses = even, odd
        self._first, self.size = True, size

    def free(self) -> None:
        """Free the buffers, which nothing uses; the next frame is a first frame."""
        self.size, self._first = None, True
        self._buffers, self._addresses = [], ({}, {})
        self._resources.close()

    @contextmanager
    def step(self) -> Iterator[bool]:
        """In the block the device is given a frame; then the buffers change places.

        Yields whether it is a first frame, whose states must be started. So is the next
        one if the block fails: nobody knows what the states are then.
        """
        first, self._first = self._first, True
        yield first and bool(self._buffers)
        self._first = False
        self.turn = 1 - self.turn if self._buffers else 0

    def start(self, slot: Slot, stream: Stream) -> None:
        """Let the states be what they are before the frame in `slot`."""
        states = zip(self._engine.states, self._buffers, self._bytes, strict=True)
        for state, buffers, size_bytes in states:
            if state.start == "frame":
                slot.copy_to(buffers[self.turn], stream)
            else:
                self._device.clear(buffers[self.turn], size_bytes, stream)
