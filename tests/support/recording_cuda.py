"""A CUDA device that is none: it writes calls down, and checks order and lifetimes.

Work is only queued; it runs when something synchronises, and then no more than that
needs (``lazy``), or at once (``eager``), or in any order that streams and events allow
(``random``). A copy that somebody forgot to wait for is then seen as a wrong picture.
What would be undefined behaviour of CUDA raises `MisuseError`, which nothing catches:
use after free; free while in use; work on memory that other work, which nothing orders
before it, still reads or writes; and a network, or a copy on the device, that reads
memory of the device which nothing has written.
"""

import random
from collections import Counter
from typing import NamedTuple

import numpy as np

from derain.core.errors import EngineError
from derain.runtime.cuda.device import DeviceFacts

COPY_MS = 1.0


class MisuseError(AssertionError):
    """Something that CUDA leaves undefined."""


class Work:
    """One thing in a stream. It runs after `before`; it uses `resources`.

    What it `reads` and `writes` is memory of these, as `Region`s.
    """

    def __init__(self, name, action, before, resources, reads=(), writes=()):
        self.name, self.action = name, action
        self.before = before
        self.resources = resources
        self.reads, self.writes = reads, writes
        self.done = False


class Region(NamedTuple):
    """Some bytes of one buffer; `known`: they must have been written when read."""

    memory: "DeviceMemory | HostMemory"
    start: int
    stop: int
    known: bool = False

    @property
    def content(self):
        return self.memory.content[self.start : self.stop]

    def meets(self, other):
        return (
            self.memory is other.memory
            and self.start < other.stop
            and other.start < self.stop
        )


class Resource:
    def __init__(self, device, kind, size_bytes=0):
        self.device, self.kind, self.open = device, kind, True
        device.live[kind] += 1
        self.handle = device.new_handle(size_bytes)
        device.by_handle[self.handle] = self

    def use(self):
        if not self.open:
            raise MisuseError(f"{self.kind} is used after it was freed")

    def close(self):
        if not self.open:
            return
        self.device.free_checks(self)
        self.open = False
        self.device.live[self.kind] -= 1
        del self.device.by_handle[self.handle]
        self.device.called(f"free {self.kind}")  # CUDA frees it and reports old errors


class DeviceMemory(Resource):
    def __init__(self, device, size_bytes):
        super().__init__(device, "device memory", size_bytes)
        self.written = np.zeros(size_bytes, bool)
        self.content = np.random.default_rng(0).integers(
            0, 256, size_bytes, dtype=np.uint8
        )

    @property
    def address(self):
        self.use()
        return self.handle


class HostMemory(Resource):
    def __init__(self, device, size_bytes):
        super().__init__(device, "host memory", size_bytes)
        self.written = np.ones(size_bytes, bool)  # by the processor, for all we know
        self.content = np.random.default_rng(1).integers(
            0, 256, size_bytes, dtype=np.uint8
        )

    @property
    def address(self):
        self.use()
        return self.handle

    @property
    def array(self):
        self.use()
        return self.content


class Stream(Resource):
    def __init__(self, device):
        super().__init__(device, "stream")
        self.last = None
        self.captured = None  # what a capture has so far

    def wait(self, event):
        self.device.called("wait")
        self.use()
        event.use()
        if self.captured is not None:
            raise MisuseError("a wait for work outside of the graph")
        before = [event.recorded] if event.recorded else []
        self.device.submit(self, Work("wait", lambda: None, before, [event]))

    def synchronize(self):
        self.device.called("synchronize stream")
        self.use()
        if self.captured is not None:
            raise EngineError("cudaStreamSynchronize: not allowed in a capture")
        if self.last is not None:
            self.device.run(self.last)


class Event(Resource):
    def __init__(self, device):
        super().__init__(device, "event")
        self.recorded = None
        self.time_ms = None

    def record(self, stream, *, in_graph=False):
        self.device.called("record")
        self.use()
        stream.use()
        if in_graph != (stream.captured is not None):
            raise MisuseError("in_graph says something else than the stream")

        def action():
            self.time_ms = self.device.clock_ms

        work = Work("record", action, [], [self])
        if not in_graph:
            self.recorded = work
        self.device.submit(stream, work)

    def synchronize(self):
        self.device.called("synchronize event")
        self.use()
        if self.recorded is None:
            raise MisuseError("an event that was never recorded")
        self.device.run(self.recorded)


class Graph(Resource):
    def __init__(self, device, works):
        super().__init__(device, "graph")
        self.works = works

    def launch(self, stream):
        self.device.called("launch graph")
        self.use()
        stream.use()
        for work in self.works:
            again = Work(
                work.name,
                work.action,
                [],
                [*work.resources, self],
                work.reads,
                work.writes,
            )
            self.device.submit(stream, again)


class RecordingDevice:
    """See the module; a stand-in for `derain.runtime.cuda.device.Device`.

    Args:
        order: ``lazy``, ``eager`` or ``random``.
        seed: Of the random order.
        fail_at: Number of the call that fails; None: none.
        integrated: What its facts say.
        graphs: Whether it has CUDA graphs.
        refuse: Name of work that cannot be captured.
    """

    description = "recording device"

    def __init__(
        self,
        order="lazy",
        seed=0,
        fail_at=None,
        integrated=False,
        graphs=True,
        refuse=None,
    ):
        self.order, self.random = order, random.Random(seed)
        self.fail_at, self.refuse = fail_at, refuse
        self.has_graphs = graphs
        self.facts = DeviceFacts(
            name="Orin",
            compute_capability="8.7",
            driver="12.6",
            runtime="12.6",
            memory_bytes=8 << 30,
            integrated=integrated,
            multiprocessors=8,
        )
        self.calls = []
        self.keep_calls = True
        self.count = 0
        self.live = Counter()
        self.made = Counter()
        self.by_handle = {}
        self.pending = []
        self.clock_ms = 0.0
        self.closed = 0
        self._handles = 4096

    # -- what the Protocol asks for

    def host_memory(self, size_bytes):
        return self._make("host memory", HostMemory, size_bytes)

    def device_memory(self, size_bytes):
        return self._make("device memory", DeviceMemory, size_bytes)

    def stream(self):
        return self._make("stream", Stream)

    def event(self):
        return self._make("event", Event)

    def upload(self, target, source, size_bytes, stream):
        self._copy("upload", target, source, size_bytes, stream)

    def download(self, target, source, size_bytes, stream):
        self._copy("download", target, source, size_bytes, stream)

    def copy(self, target, source, size_bytes, stream):
        self._copy("copy", target, source, size_bytes, stream, known=True)

    def clear(self, target, size_bytes, stream):
        self.called("clear")
        for resource in (target, stream):
            resource.use()
        if size_bytes > target.content.size:
            raise MisuseError(f"clear of {size_bytes} bytes leaves the buffer")
        region = Region(target, 0, size_bytes)

        def action():
            region.content[:] = 0

        self.submit(stream, Work("clear", action, [], [target], [], [region]))

    def elapsed_ms(self, start, end):
        self.called("elapsed")
        for event in (start, end):
            event.use()
            if event.time_ms is None:
                raise MisuseError("the time of an event that never came")
            if event.recorded is not None and not event.recorded.done:
                raise EngineError("cudaEventElapsedTime: cudaErrorNotReady: not ready")
        return end.time_ms - start.time_ms

    def capture(self, stream, work):
        self.called("begin capture")
        stream.use()
        if stream.captured is not None:
            raise MisuseError("a capture in a capture")
        stream.captured = []
        try:
            work()
            works = stream.captured
            if any(each.name == self.refuse for each in works):
                raise EngineError("cudaStreamEndCapture: it cannot be captured")
        finally:
            stream.captured = None
        return self._make("graph", Graph, works)

    def close(self):
        if not self.closed:
            assert not +self.live, f"left when the device is closed: {+self.live}"
            assert not self.pending, "work is left when the device is closed"
        self.closed += 1

    # -- for stand-ins of engines

    def launch(self, handle, name, action, reads, writes, milliseconds):
        """Queue `action` in a stream; it reads and writes these `Region`s."""
        stream = self.by_handle.get(handle)
        if not isinstance(stream, Stream):
            raise MisuseError("work for a stream that is none")

        def timed():
            action()
            self.clock_ms += milliseconds

        memory = [region.memory for region in (*reads, *writes)]
        self.submit(stream, Work(name, timed, [], memory, reads, writes))

    def region(self, address, size_bytes):
        """The bytes at an address, which are written before they are read."""
        start = (
            address
            if address in self.by_handle
            else max(
                (handle for handle in self.by_handle if handle < address), default=0
            )
        )
        memory, offset = self.by_handle.get(start), address - start
        stop = offset + size_bytes
        if not isinstance(memory, DeviceMemory | HostMemory) or (
            stop > memory.content.size
        ):
            raise MisuseError(f"{address}: no memory with {size_bytes} bytes is there")
        return Region(memory, offset, stop, known=True)

    # -- how it works

    def called(self, name):
        """Write a call down; the one that was chosen fails."""
        self.count += 1
        if self.keep_calls:
            self.calls.append(name)
        if self.count == self.fail_at:
            raise EngineError(f"{name}: cudaErrorUnknown: injected")

    def new_handle(self, size_bytes=0):
        handle = self._handles
        self._handles += 4096 * (1 + size_bytes // 4096)
        return handle

    def submit(self, stream, work):
        if stream.captured is not None:
            stream.captured.append(work)
            return
        work.stream = stream
        work.resources = [*work.resources, stream]
        if stream.last is not None and not stream.last.done:
            work.before = [*work.before, stream.last]
        self._check_races(work)
        stream.last = work
        self.pending.append(work)
        if self.order == "eager":
            self.run(work)

    def run(self, work):
        """Run what `work` needs and itself; in ``random`` order, more than that."""
        if self.order == "random":
            while not work.done:
                ready = [
                    each
                    for each in self.pending
                    if all(before.done for before in each.before)
                ]
                self._execute(self.random.choice(ready))
            return
        stack = [work]
        while stack:
            waiting = [before for before in stack[-1].before if not before.done]
            if waiting:
                stack += waiting
            else:
                ready = stack.pop()
                if not ready.done:
                    self._execute(ready)

    def _check_races(self, work):
        """Raise if work that is not surely done before uses the same memory."""
        if not (work.reads or work.writes):
            return
        earlier, found = set(), list(work.before)
        while found:
            each = found.pop()
            if each not in earlier:
                earlier.add(each)
                found += each.before
        for other in reversed(self.pending):
            if other in earlier:
                continue
            for mine, theirs in (
                (work.writes, [*other.reads, *other.writes]),
                (work.reads, other.writes),
            ):
                if any(a.meets(b) for a in mine for b in theirs):
                    raise MisuseError(
                        f"{work.name} uses memory that {other.name} may still use"
                    )

    def free_checks(self, resource):
        if any(resource in work.resources for work in self.pending):
            raise MisuseError(f"{resource.kind} is freed while work needs it")

    def _execute(self, work):
        for resource in work.resources:
            resource.use()
        for region in work.reads:
            if (
                region.known
                and not region.memory.written[region.start : region.stop].all()
            ):
                raise MisuseError(f"{work.name} reads what nothing has written")
        work.action()
        for region in work.writes:
            region.memory.written[region.start : region.stop] = True
        work.done = True
        work.before = []
        self.pending.remove(work)

    def _make(self, name, cls, *arguments):
        self.called(f"make {name}")
        self.made[name] += 1
        return cls(self, *arguments)

    def _copy(self, name, target, source, size_bytes, stream, known=False):
        self.called(name)
        for resource in (target, source, stream):
            resource.use()
        if size_bytes > min(target.content.size, source.content.size):
            raise MisuseError(f"{name} of {size_bytes} bytes leaves the buffer")
        read = Region(source, 0, size_bytes, known)
        written = Region(target, 0, size_bytes)

        def action():
            written.content[:] = read.content
            self.clock_ms += COPY_MS

        used = [target, source]
        self.submit(stream, Work(name, action, [], used, [read], [written]))
