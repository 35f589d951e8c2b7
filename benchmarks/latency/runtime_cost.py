"""What the runtime adds to the bare session: its loop, its memory, its start-up."""

from __future__ import annotations

import gc
import importlib
import itertools
import logging
import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.machine import usable_cores
from derain.benchmarks.latency.prepare import NetworkSpec, Prepared, prepare
from derain.core.bundle import Bundle
from derain.core.errors import BenchmarkError
from derain.core.pictures import write_picture
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.inference import Inference as FrameStep
from derain.runtime.pipeline.loop import run_loop
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame as StreamFrame
from derain.runtime.video.frames import SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks.null import NullSink

_DEFAULT = NetworkSpec(model="qsnet", size=Size(160, 120), random_weights=True)
_log = logging.getLogger(__name__)
_WARM = 10
_TRACED = 50
_STARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCost:
    """The runtime's own cost, on the processor.

    Attributes:
        bundle: Which bundle ran.
        size: Of its frames.
        frames: How many were timed.
        session_ms: Median time inside the session.
        loop_ms: Median time between two frames of the loop of ``derain-run``, threads
            included.
        overhead_ms: Median of what a frame of the loop took outside the session.
        overhead_low_ms: 2.5th percentile of that.
        overhead_high_ms: 97.5th percentile of that.
        kept_bytes_per_frame: Memory that stays allocated, by each frame of the loop;
            statistics of the last 1024 frames are some of it.
        peak_bytes: Most memory of Python and NumPy at once during the frames, above
            that before. What the session allocates by itself is not seen.
        bare_peak_bytes: The same of the bare session.
        frame_bytes: Length of one frame, to compare with.
        help_s: Median time of ``derain-run --help``.
        first_frame_s: Median time of ``derain-run`` for one frame, start of the process
            and self-test included.
    """

    bundle: str
    size: str
    frames: int
    session_ms: float
    loop_ms: float
    overhead_ms: float
    overhead_low_ms: float
    overhead_high_ms: float
    kept_bytes_per_frame: float
    peak_bytes: int
    bare_peak_bytes: int
    frame_bytes: int
    help_s: float
    first_frame_s: float

    def text(self) -> str:
        """For a terminal."""
        return "\n".join(
            (
                f"bundle                {self.bundle}, {self.size}",
                f"inside the session    {self.session_ms:.3f} ms a frame (median)",
                f"loop of derain-run    {self.loop_ms:.3f} ms",
                f"overhead of the loop  {self.overhead_ms:.3f} ms "
                f"[{self.overhead_low_ms:.3f} to {self.overhead_high_ms:.3f}]",
                f"kept per frame        {self.kept_bytes_per_frame:.1f} bytes",
                f"most in between       {self.peak_bytes:,} bytes, bare "
                f"session {self.bare_peak_bytes:,}, a frame has {self.frame_bytes:,}",
                f"derain-run --help     {self.help_s:.2f} s",
                f"first frame           {self.first_frame_s:.2f} s from the start of "
                "the process",
            )
        )


def measure_runtime(folder: Path | None, frames: int, threads: int) -> RuntimeCost:
    """Measure the runtime with the bundle in `folder`; None exports a small one.

    Raises:
        DerainError: There is no bundle, or it does not run.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(ScratchFolder())
        if folder is None:
            _log.info("exporting %s", _DEFAULT.name)
            folder = _export(Path(temporary))
        bundle = Bundle.open(folder)
        image, _ = bundle.golden_frames()
        threads = threads or usable_cores()
        derainer = stack.enter_context(
            closing(Derainer(bundle, "onnxruntime", threads))
        )
        _log.info("the loop")
        sessions, loops = _time_loop(derainer, image, frames)
        overheads = np.subtract(loops, sessions)
        low, high = np.percentile(overheads, (2.5, 97.5))
        _log.info("memory")
        kept, peak = traced_memory(_stream(derainer, image))
        _, bare_peak = traced_memory(_bare_session(bundle, threads, image))
        _log.info("starting derain-run")
        picture = Path(temporary) / "frame.png"
        write_picture(picture, image)
        command = [sys.executable, "-m", "derain.runtime.cli"]
        first = [str(folder), "--source", str(picture), "--sink", "null:", "--quiet"]
        first += ["--threads", str(threads)]
        return RuntimeCost(
            bundle=folder.name,
            size=f"{image.shape[1]}x{image.shape[0]}",
            frames=frames,
            session_ms=statistics.median(sessions),
            loop_ms=statistics.median(loops),
            overhead_ms=float(np.median(overheads)),
            overhead_low_ms=float(low),
            overhead_high_ms=float(high),
            kept_bytes_per_frame=kept,
            peak_bytes=peak,
            bare_peak_bytes=bare_peak,
            frame_bytes=image.nbytes,
            help_s=_median_seconds([*command, "--help"]),
            first_frame_s=_median_seconds([*command, *first]),
        )


def _export(folder: Path) -> Path:
    prepared = Prepared()
    prepare(_DEFAULT, "fp32", folder, prepared)
    if "fp32" not in prepared.files:
        raise BenchmarkError(
            f"no bundle could be exported: {prepared.errors['fp32']}; give --bundle"
        )
    return prepared.files["fp32"]


def _time_loop(
    derainer: Derainer, image: Frame, count: int
) -> tuple[list[float], list[float]]:
    """Of `count` frames, the time in the session and all of the time, in ms.

    All of it is from one call of the session to the next, with the threads of
    source and sink at work.
    """
    session_type = importlib.import_module("onnxruntime").InferenceSession
    run_session = session_type.run_with_iobinding
    inside: list[float] = []
    starts: list[float] = []

    def timed_run(*arguments: Any) -> None:
        starts.append(time.perf_counter())
        run_session(*arguments)
        inside.append((time.perf_counter() - starts[-1]) * 1000)

    limit = _WARM + count + 1  # one more: the last has no next one
    source = Capture(_Repeated(image), limit=limit)
    sink = NullSink("null:", source.info, SinkOptions())
    session_type.run_with_iobinding = timed_run
    try:
        run_loop(source, derainer, [sink], LoopOptions(limit=limit))
    finally:
        session_type.run_with_iobinding = run_session
    loops = [(after - before) * 1000 for before, after in itertools.pairwise(starts)]
    return inside[_WARM:-1], loops[_WARM:]


class _Repeated:
    """One frame for ever, as a file."""

    def __init__(self, image: Frame) -> None:
        self._image = image
        self.info = SourceInfo(
            description="one frame", time_base=Fraction(1, 25), fps=Fraction(25)
        )

    def __iter__(self) -> Iterator[StreamFrame]:
        for index in itertools.count():
            yield StreamFrame(self._image, index, index * self.info.time_base)

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def _stream(derainer: Derainer, image: Frame) -> Iterator[StreamFrame]:
    """The network's step of the loop on one frame, for ever."""
    step = FrameStep(derainer, Statistics(), overlap=True)
    return step.derained(iter(_Repeated(image)))


def _bare_session(bundle: Bundle, threads: int, image: Frame) -> Iterator[object]:
    """``session.run`` and nothing else, with the options of our backend."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    session = ort.InferenceSession(
        bundle.model_path, options, providers=["CPUExecutionProvider"]
    )
    size = Size(image.shape[1], image.shape[0])
    shapes = bundle.manifest.state_shapes(size)
    feeds = {session.get_inputs()[0].name: image[np.newaxis]} | {
        state.input: np.zeros(shape, state.dtype)
        for state, shape in zip(bundle.manifest.states, shapes, strict=True)
    }
    outputs = [session.get_outputs()[0].name]
    outputs += [state.output for state in bundle.manifest.states]
    while True:
        yield session.run(outputs, feeds)


def traced_memory(frames: Iterator[object]) -> tuple[float, int]:
    """Bytes that a frame leaves behind, and the most that are taken during frames."""
    next(frames)
    tracemalloc.start()
    try:
        _take(frames, _WARM)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        _take(frames, _TRACED)
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / _TRACED, peak - before


def _take(frames: Iterator[object], count: int) -> None:
    for _ in range(count):
        next(frames)


def _median_seconds(command: Sequence[str]) -> float:
    seconds = []
    for _ in range(_STARTS):
        started = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}
        )
        seconds.append(time.perf_counter() - started)
        if done.returncode:
            raise BenchmarkError(
                f"{' '.join(command[1:])} fails: {done.stderr.strip()}"
            )
    return statistics.median(seconds)
