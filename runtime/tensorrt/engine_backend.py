"""TensorRT and TensorRT-RTX: a frame in host memory in, a frame in host memory out.

Nothing is allocated for a frame. `infer` runs copy, network and copy on one stream, as
one CUDA graph. `stream` runs them on three streams: while the network works on a frame,
the next one is copied in and the last one is copied out. What the network remembers
stays on the device, see `derain.runtime.tensorrt.engine_memory`.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import EngineError, ShapeError, StateError
from derain.core.sizes import Size, SizeRange
from derain.runtime.backends.protocol import Memory, NoMemory, StageTimes
from derain.runtime.cuda.device import Device, at_exit, own
from derain.runtime.tensorrt.captures import Captures, Work
from derain.runtime.tensorrt.engine_memory import EngineMemory
from derain.runtime.tensorrt.frame_slot import Slot
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine

_SLOTS = 3  # a frame on its way in, one in the network, one on its way out
_WARM_UPS, _TRIALS = 3, 7  # to choose between copies and mapped memory


class TensorRtBackend:
    """Runs an engine; see `Backend`.

    It belongs to the thread that made it: every method raises an `EngineError` in any
    other. Arrays that it returns must not be read after `close`.

    Args:
        device: Closed by this, also when it fails.
        engine: Closed by this, also when it fails.
        size: Of the frames that the choice of mapped memory is tried with.

    Raises:
        EngineError: CUDA or TensorRT failed.
    """

    def __init__(self, device: Device, engine: TensorRtEngine, size: Size) -> None:
        self.notes: list[str] = []
        self._thread = threading.current_thread()
        self._device = device
        self._engine = engine
        self._size: Size | None = None
        self._slots: list[Slot] = []
        self._last: Slot | None = None
        self._streaming = False
        self._closed = False
        self._memories: set[EngineMemory] = set()
        self._nothing = self._make_memory()  # of an engine without states
        with ExitStack() as stack:
            own(stack, device)
            own(stack, engine)
            self._in = own(stack, device.stream())
            self._stream = own(stack, device.stream())
            self._out = own(stack, device.stream())
            self._captures = Captures(device, engine, self._stream, self.notes)
            at_exit(stack, self._close_slots)
            at_exit(stack, self._close_memories)
            at_exit(stack, self._captures.drop)
            at_exit(stack, self._synchronize)
            self._choose_memory(size)
            self._resources = stack.pop_all()
        if not device.has_graphs:
            self.notes.append(
                f"{device.description} has no CUDA graphs; with them a frame costs "
                "less of the processor: pip install 'derain[tensorrt]'"
            )
        memory = "mapped memory" if self._slots[0].mapped else "copies"
        self.description = (
            f"{engine.description}, {device.facts.name}, {device.description}, {memory}"
        )

    @property
    def times(self) -> StageTimes | None:
        """See `Backend.times`: by the clock of the device."""
        if self._closed or self._last is None:
            return None
        self._check()
        return self._last.times()

    @property
    def sizes(self) -> SizeRange:
        """See `SizedBackend.sizes`."""
        return self._engine.sizes

    def warm_up(self, size: Size) -> None:
        """Run what the first frames of `size` would pay for.

        The second run captures the CUDA graph: what is tested afterwards, with the
        golden frame, is the graph, and the first real frame is as fast as the others.
        """
        black = np.zeros((1, size.height, size.width, 3), np.uint8)
        with ExitStack() as stack:
            memory = own(stack, self.new_memory())
            for _ in range(2):
                self.infer(black, memory)
        self._last = None

    def new_memory(self) -> Memory:
        """See `Backend.new_memory`. It is freed with the backend, if not before.

        Raises:
            EngineError: This is another thread.
        """
        self._check()
        if not self._engine.states:
            return NoMemory()
        memory = self._make_memory()
        self._memories.add(memory)
        return memory

    def infer(self, frame: NDArray[np.uint8], memory: Memory) -> NDArray[np.uint8]:
        """See `Backend.infer`.

        Raises:
            ShapeError: The engine was not built for frames of this size.
            StateError: The states are not finite; they were reset.
            EngineError: It failed; or a stream is running, or this is another thread.
        """
        self._check()
        if self._streaming:
            raise EngineError(
                f"{self.description}: a stream is running; close it before infer"
            )
        states = self._states(memory)
        self._set_size(frame, states)
        slot = self._slots[0]
        slot.load(frame)
        with ExitStack() as stack:
            first = stack.enter_context(states.step())
            at_exit(stack, self._stream.synchronize)  # of half a step, too
            self._captures.run(
                Work("step", slot, states, states.turn),
                lambda in_graph: self._step(
                    slot, states, first=first, in_graph=in_graph
                ),
                as_it_is=first,
            )
        return self._result(slot, states)

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], memory: Memory
    ) -> Generator[NDArray[np.uint8], None, None]:
        """See `Backend.stream`: up to three frames are on their way.

        Raises:
            ShapeError: The engine was not built for frames of a size that came.
            StateError: The states are not finite; they were reset. The frames behind
                that one, which had begun with them, come to nothing.
            EngineError: It failed; or a stream is running, or this is another thread.
        """
        self._check()
        if self._streaming:
            raise EngineError(f"{self.description}: a stream is running already")
        states = self._states(memory)
        while len(self._slots) < _SLOTS:
            self._slots.append(self._make_slot(mapped=self._slots[0].mapped))
        free, waiting = deque(self._slots), deque[Slot]()
        source = iter(frames)
        failure: Exception | None = None
        self._streaming = True
        with ExitStack() as stack:
            at_exit(stack, self._end_stream)
            while True:
                try:
                    frame = next(source)
                    self._check_size(frame)
                except StopIteration:
                    break
                except Exception as error:  # raised below, after what came before
                    failure = error
                    break
                waiting.append(free.popleft())
                self._submit(waiting[-1], frame, states)
                if not free:
                    yield self._finish(waiting[0], states)
                    free.append(waiting.popleft())
            while waiting:
                yield self._finish(waiting.popleft(), states)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """See `Backend.close`. A stream that is running is over.

        Raises:
            EngineError: This is another thread, or the device failed; in that case
                everything else was freed.
        """
        if self._closed:
            return
        self._check()
        self._closed = True
        self._resources.close()

    def _check(self) -> None:
        if threading.current_thread() is not self._thread:
            raise EngineError(
                f"this backend belongs to thread {self._thread.name}, not to "
                f"{threading.current_thread().name}; open one in each thread"
            )
        if self._closed:
            raise EngineError("this backend is closed; open the bundle again")

    def _check_size(self, frame: NDArray[np.uint8]) -> Size:
        size = Size(frame.shape[2], frame.shape[1])
        if size not in self._engine.sizes:
            raise ShapeError(
                f"frame is {size}, the engine takes {self._engine.sizes}; run: "
                f"derain-compile with --size {size} (or use --resize)"
            )
        return size

    def _set_size(self, frame: NDArray[np.uint8], states: EngineMemory) -> None:
        """Make engine and states ready for `frame`.

        A graph holds what the context had prepared for a size: TensorRT leaves open
        what it does after another size was set. So graphs are kept for one size alone.
        """
        size = self._check_size(frame)
        if size != self._size:
            self._size = None
            self._synchronize()
            self._captures.drop()
            self._engine.set_size(size)
            self._size = size
        if size != states.size:
            self._free(states)
            states.allocate(size)

    def _states(self, memory: Memory) -> EngineMemory:
        """The states that `memory` is.

        Raises:
            EngineError: It is none of this backend's, or is closed.
        """
        if not self._engine.states:
            return self._nothing
        if not isinstance(memory, EngineMemory) or memory not in self._memories:
            raise EngineError(
                f"{self.description}: this memory is closed, or of another backend; "
                "ask for a new one"
            )
        return memory

    def _make_memory(self) -> EngineMemory:
        return EngineMemory(self._device, self._engine, self._close_memory)

    def _make_slot(self, *, mapped: bool) -> Slot:
        room, health = self._engine.sizes.maximum, self._engine.has_health
        return Slot(self._device, room, mapped=mapped, health=health)

    def _free(self, states: EngineMemory) -> None:
        """Free the buffers of `states` and the graphs on them, when all work is done.

        Raises:
            EngineError: The device failed; they were freed.
        """
        with ExitStack() as stack:
            at_exit(stack, states.free)
            at_exit(stack, lambda: self._captures.drop(states))
            at_exit(stack, self._synchronize)

    def _close_memory(self, memory: EngineMemory) -> None:
        if self._closed or memory not in self._memories:
            return
        self._check()
        self._memories.remove(memory)
        self._free(memory)

    def _step(
        self, slot: Slot, states: EngineMemory, *, first: bool, in_graph: bool
    ) -> None:
        """All of a frame's way, on one stream."""
        stream = self._stream
        slot.upload(stream, in_graph=in_graph)
        slot.begin_compute(stream, in_graph=in_graph)
        if first:
            states.start(slot, stream)
        slot.enqueue(self._engine, states.addresses, stream)
        slot.end_compute(stream, in_graph=in_graph)
        slot.download(stream, in_graph=in_graph)

    def _submit(
        self, slot: Slot, frame: NDArray[np.uint8], states: EngineMemory
    ) -> None:
        """Start a frame on its way, on three streams."""
        self._check()
        states = self._states(states)
        self._set_size(frame, states)
        slot.load(frame)
        slot.upload(self._in)
        slot.wait_for_upload(self._stream)
        slot.begin_compute(self._stream)
        with states.step() as first:
            if first:
                states.start(slot, self._stream)
            self._captures.run(
                Work("network", slot, states, states.turn),
                lambda _: slot.enqueue(self._engine, states.addresses, self._stream),
            )
        slot.end_compute(self._stream)
        slot.wait_for_compute(self._out)
        slot.download(self._out)

    def _finish(self, slot: Slot, states: EngineMemory) -> NDArray[np.uint8]:
        self._check()
        slot.done.synchronize()
        return self._result(slot, states)

    def _result(self, slot: Slot, states: EngineMemory) -> NDArray[np.uint8]:
        """The derained frame in `slot`, which is done.

        Raises:
            StateError: The states that came with it are not finite.
        """
        self._last = slot
        if not slot.healthy:
            states.reset()
            raise StateError(
                f"{self.description}: a state is not finite; all of them were reset"
            )
        return slot.derained

    def _choose_memory(self, size: Size) -> None:
        """Make the first slot: with copies, or mapped where that is faster here."""
        self._slots.append(self._make_slot(mapped=False))
        if not self._device.facts.integrated:
            return
        self._slots.append(self._make_slot(mapped=True))
        black = np.zeros((1, size.height, size.width, 3), np.uint8)
        with ExitStack() as stack:
            memory = own(stack, self.new_memory())
            self._set_size(black, self._states(memory))
            copied, mapped = (
                self._try(slot, black, self._states(memory)) for slot in self._slots
            )
        slower = self._slots.pop(0 if mapped < copied else 1)
        slower.close()

    def _try(self, slot: Slot, frame: NDArray[np.uint8], states: EngineMemory) -> float:
        """Median time of a step, in ms."""
        slot.load(frame)
        took_ms: list[float] = []
        for _ in range(_WARM_UPS + _TRIALS):
            self._step(slot, states, first=not took_ms, in_graph=False)
            self._stream.synchronize()
            times = slot.times()
            copies_ms = (times.upload_ms or 0.0) + (times.download_ms or 0.0)
            took_ms.append(times.compute_ms + copies_ms)
        return statistics.median(took_ms[_WARM_UPS:])

    def _end_stream(self) -> None:
        self._streaming = False
        if not self._closed:
            self._synchronize()

    def _synchronize(self) -> None:
        for stream in (self._in, self._stream, self._out):
            stream.synchronize()

    def _close_memories(self) -> None:
        with ExitStack() as stack:
            for memory in self._memories:
                at_exit(stack, memory.free)
        self._memories.clear()

    def _close_slots(self) -> None:
        self._last = None
        with ExitStack() as stack:
            for slot in self._slots:
                own(stack, slot)
        self._slots.clear()
