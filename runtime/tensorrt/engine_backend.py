"""TensorRT and TensorRT-RTX: a frame in host memory in, a frame in host memory out.

Nothing is allocated for a frame. `infer` runs copy, network and copy on one stream, as
one CUDA graph. `stream` runs them on three streams: while the network works on a frame,
the next one is copied in and the last one is copied out.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, ShapeError
from derain.core.sizes import Size
from derain.runtime.backends.protocol import Memory, NoMemory, StageTimes
from derain.runtime.cuda import open_device
from derain.runtime.cuda.device import Device, Graph, at_exit, own
from derain.runtime.cuda.probe import probe
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.engine_fit import read_plan
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.frame_slot import Slot
from derain.runtime.tensorrt.library import open_api
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine

_SLOTS = 3  # a frame on its way in, one in the network, one on its way out
_WARM_UPS, _TRIALS = 3, 7  # to choose between copies and mapped memory

_STEP, _NETWORK = "step", "network"  # what is captured: all of `infer`; its middle


def open_tensorrt(bundle: Bundle, threads: int = 0) -> TensorRtBackend:
    """The engine of `bundle` for TensorRT, which needs no processor threads."""
    return _open(bundle, "tensorrt")


def open_tensorrt_rtx(bundle: Bundle, threads: int = 0) -> TensorRtBackend:
    """The engine of `bundle` for TensorRT-RTX, which needs no processor threads."""
    return _open(bundle, "tensorrt-rtx")


def check_tensorrt() -> str:
    """Why TensorRT works here; an `EngineError` says why not."""
    return _check("tensorrt")


def check_tensorrt_rtx() -> str:
    """Why TensorRT-RTX works here; an `EngineError` says why not."""
    return _check("tensorrt-rtx")


def _check(name: EngineBackend) -> str:
    gpu = probe()  # before the library, which crashes where there is no GPU
    return f"{name} {open_api(name).version} on {gpu.name}"


def _open(bundle: Bundle, name: EngineBackend) -> TensorRtBackend:
    size = bundle.manifest.sizes.optimum  # that of the golden frame, which comes first
    with ExitStack() as stack:
        # Before TensorRT is touched: without a GPU it answers with a crash.
        device = own(stack, open_device())
        api = open_api(name)
        record, plan = read_plan(bundle, name, api.version, device.facts, size)
        kernels = None
        if versions.compiles_at_start(api):
            kernels = CacheFile.default("kernels", name, api.version, device.facts)
        engine = TensorRtEngine(api, record, plan, kernels)
        stack.pop_all()  # the backend owns the device now
    backend = TensorRtBackend(device, engine, size)
    try:
        backend.warm_up(size)
    except BaseException:
        backend.close()
        raise
    return backend


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
        self._captures = device.has_graphs
        with ExitStack() as stack:
            own(stack, device)
            own(stack, engine)
            self._in = own(stack, device.stream())
            self._stream = own(stack, device.stream())
            self._out = own(stack, device.stream())
            at_exit(stack, self._close_slots)
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

    def warm_up(self, size: Size) -> None:
        """Run what the first frames of `size` would pay for.

        The second run captures the CUDA graph: what is tested afterwards, with the
        golden frame, is the graph, and the first real frame is as fast as the others.
        """
        black = np.zeros((1, size.height, size.width, 3), np.uint8)
        for _ in range(2):
            self.infer(black)
        self._last = None

    def new_memory(self) -> Memory:
        """See `Backend.new_memory`."""
        return NoMemory()

    def infer(
        self, frame: NDArray[np.uint8], memory: Memory | None = None
    ) -> NDArray[np.uint8]:
        """See `Backend.infer`.

        Raises:
            ShapeError: The engine was not built for frames of this size.
            EngineError: It failed; or a stream is running, or this is another thread.
        """
        self._check()
        if self._streaming:
            raise EngineError(
                f"{self.description}: a stream is running; close it before infer"
            )
        self._set_size(frame)
        slot = self._slots[0]
        slot.load(frame)
        self._run(slot, _STEP, lambda in_graph: self._step(slot, in_graph=in_graph))
        self._stream.synchronize()
        self._last = slot
        return slot.derained

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], memory: Memory | None = None
    ) -> Generator[NDArray[np.uint8], None, None]:
        """See `Backend.stream`: up to three frames are on their way.

        Raises:
            ShapeError: The engine was not built for frames of a size that came.
            EngineError: It failed; or a stream is running, or this is another thread.
        """
        self._check()
        if self._streaming:
            raise EngineError(f"{self.description}: a stream is running already")
        room = self._engine.sizes.maximum
        while len(self._slots) < _SLOTS:
            slot = Slot(self._device, room, mapped=self._slots[0].mapped)
            self._slots.append(slot)
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
                self._submit(waiting[-1], frame)
                if not free:
                    yield self._finish(waiting[0])
                    free.append(waiting.popleft())
            while waiting:
                yield self._finish(waiting.popleft())
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
                f"derain-compile with --size {size}"
            )
        return size

    def _set_size(self, frame: NDArray[np.uint8]) -> None:
        """Make the engine ready for `frame`.

        A graph holds what the context had prepared for a size: TensorRT leaves open
        what it does after another size was set. So graphs are kept for one size alone.
        """
        size = self._check_size(frame)
        if size == self._size:
            return
        self._size = None
        self._synchronize()
        for slot in self._slots:
            slot.drop_graphs()
        self._engine.set_size(size)
        self._size = size

    def _step(self, slot: Slot, *, in_graph: bool) -> None:
        """All of a frame's way, on one stream."""
        stream = self._stream
        slot.upload(stream, in_graph=in_graph)
        slot.begin_compute(stream, in_graph=in_graph)
        slot.enqueue(self._engine, stream)
        slot.end_compute(stream, in_graph=in_graph)
        slot.download(stream, in_graph=in_graph)

    def _submit(self, slot: Slot, frame: NDArray[np.uint8]) -> None:
        """Start a frame on its way, on three streams."""
        self._check()
        self._set_size(frame)
        slot.load(frame)
        slot.upload(self._in)
        slot.wait_for_upload(self._stream)
        slot.begin_compute(self._stream)
        self._run(slot, _NETWORK, lambda _: slot.enqueue(self._engine, self._stream))
        slot.end_compute(self._stream)
        slot.wait_for_compute(self._out)
        slot.download(self._out)

    def _finish(self, slot: Slot) -> NDArray[np.uint8]:
        self._check()
        slot.done.synchronize()
        self._last = slot
        return slot.derained

    def _run(self, slot: Slot, name: str, work: Callable[[bool], None]) -> None:
        """Do `work` as it is the first time, then as a graph.

        The first time TensorRT prepares what cannot be captured; and where sizes
        alternate, capturing would be wasted.
        """
        if name in slot.ran and name not in slot.graphs and self._captures:
            self._engine.keep_kernels()  # all of this size are compiled now
            graph = self._capture(work)
            if graph is not None:
                slot.graphs[name] = graph
        if name in slot.graphs:
            slot.graphs[name].launch(self._stream)
        else:
            work(False)
            slot.ran.add(name)

    def _capture(self, work: Callable[[bool], None]) -> Graph | None:
        try:
            if not self._engine.can_be_captured(self._stream):
                raise EngineError(f"{self._engine.description} cannot be captured")
            return self._device.capture(self._stream, lambda: work(True))
        except EngineError as error:
            self._captures = False
            self.notes.append(f"no CUDA graph, each kernel is started alone: {error}")
            return None

    def _choose_memory(self, size: Size) -> None:
        """Make the first slot: with copies, or mapped where that is faster here."""
        room = self._engine.sizes.maximum
        self._slots.append(Slot(self._device, room, mapped=False))
        if not self._device.facts.integrated:
            return
        self._slots.append(Slot(self._device, room, mapped=True))
        black = np.zeros((1, size.height, size.width, 3), np.uint8)
        self._set_size(black)
        copied, mapped = (self._try(slot, black) for slot in self._slots)
        slower = self._slots.pop(0 if mapped < copied else 1)
        slower.close()

    def _try(self, slot: Slot, frame: NDArray[np.uint8]) -> float:
        """Median time of a step, in ms."""
        slot.load(frame)
        took_ms = []
        for _ in range(_WARM_UPS + _TRIALS):
            self._step(slot, in_graph=False)
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

    def _close_slots(self) -> None:
        self._last = None
        with ExitStack() as stack:
            for slot in self._slots:
                own(stack, slot)
        self._slots.clear()
