"""Work of the device as CUDA graphs: captured the second time it is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal, NamedTuple

from derain.core.errors import EngineError
from derain.runtime.cuda.device import Device, Graph, Stream, own
from derain.runtime.tensorrt.engine_memory import EngineMemory
from derain.runtime.tensorrt.frame_slot import Slot
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine


class Work(NamedTuple):
    """What a graph does: it holds the addresses of the buffers that it works on.

    Attributes:
        part: All of `infer`, or its middle.
        slot: Where the frame is.
        memory: Where the states are; None for an engine that has none.
        turn: Which of its two buffers a state comes from; see `EngineMemory`.
    """

    part: Literal["step", "network"]
    slot: Slot
    memory: EngineMemory | None
    turn: int


class Captures:
    """Graphs of work on one stream, for frames of one size.

    Args:
        device: What captures.
        engine: What is asked whether it can be captured.
        stream: Where it runs.
        notes: Told when nothing can be captured.
    """

    def __init__(
        self, device: Device, engine: TensorRtEngine, stream: Stream, notes: list[str]
    ) -> None:
        self._device = device
        self._engine = engine
        self._stream = stream
        self._notes = notes
        self._possible = device.has_graphs
        self._graphs: dict[Work, Graph] = {}
        self._ran: set[Work] = set()

    def run(
        self, work: Work, do: Callable[[bool], None], *, as_it_is: bool = False
    ) -> None:
        """Do some work as it is the first time, then as a graph.

        The first time TensorRT prepares what cannot be captured; and where sizes
        alternate, capturing would be wasted.

        Args:
            work: What it is.
            do: Does it; called with whether that is captured.
            as_it_is: There is more to do this time: no graph.

        Raises:
            EngineError: It failed.
        """
        if as_it_is or not self._is_graph(work, do):
            do(False)
            self._ran.add(work)
        else:
            self._graphs[work].launch(self._stream)

    def drop(self, memory: EngineMemory | None = None) -> None:
        """Forget the graphs, none of which is running.

        Args:
            memory: Only those on its states; None: all.
        """
        gone = {w for w in self._ran if memory is None or w.memory is memory}
        self._ran -= gone
        with ExitStack() as stack:
            for work in gone & self._graphs.keys():
                own(stack, self._graphs.pop(work))

    def _is_graph(self, work: Work, do: Callable[[bool], None]) -> bool:
        if work in self._graphs:
            return True
        if work not in self._ran or not self._possible:
            return False
        self._engine.keep_kernels()  # all of this size are compiled now
        try:
            if not self._engine.can_be_captured(self._stream):
                raise EngineError(f"{self._engine.description} cannot be captured")
            graph = self._device.capture(self._stream, lambda: do(True))
        except EngineError as error:
            self._possible = False
            self._notes.append(f"no CUDA graph, each kernel is started alone: {error}")
            return False
        self._graphs[work] = graph
        return True
