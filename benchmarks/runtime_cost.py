"""What the runtime adds to the bare session: its loop, its memory, its start-up."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from derain.benchmarks.errors import BenchmarkError
from derain.benchmarks.machine import usable_cores
from derain.benchmarks.prepare import Network, Prepared, prepare
from derain.benchmarks.subject import Frame
from derain.runtime.bundle import Bundle
from derain.runtime.derainer import Derainer
from derain.runtime.optional import load
from derain.runtime.pictures import write_picture
from derain.runtime.sizes import Size
from derain.runtime.stream import derained
from derain.runtime.video.base import Frame as StreamFrame

_DEFAULT = Network(model="qsnet", size=Size(160, 120), random_weights=True)
_WARM = 10
_STARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCost:
    """The runtime's own cost, on the processor.

    Attributes:
        bundle: Which bundle ran.
        size: Of its frames.
        frames: How many were timed each way, in turns.
        bare_ms: Median of ``session.run`` alone.
        derainer_ms: Median of ``Derainer.derain``.
        loop_ms: Median time between two frames of the loop of ``derain-run``.
        overhead_ms: Median over the frames of loop minus bare session.
        overhead_low_ms: 2.5th percentile of that; the noise of two calls of one
            session is in it.
        overhead_high_ms: 97.5th percentile of that.
        kept_bytes_per_frame: Memory that stays allocated, by each frame of the loop.
        peak_bytes_per_frame: Most Python memory at once during a frame: NumPy's, and
            the picture itself where the session makes a new one.
        bare_peak_bytes: The same of the bare session.
        frame_bytes: Length of one frame, to compare with.
        help_s: Median time of ``derain-run --help``.
        first_frame_s: Median time of ``derain-run`` for one frame, start of the process
            and self-test included.
    """

    bundle: str
    size: str
    frames: int
    bare_ms: float
    derainer_ms: float
    loop_ms: float
    overhead_ms: float
    overhead_low_ms: float
    overhead_high_ms: float
    kept_bytes_per_frame: float
    peak_bytes_per_frame: int
    bare_peak_bytes: int
    frame_bytes: int
    help_s: float
    first_frame_s: float

    def text(self) -> str:
        """For a terminal."""
        return "\n".join(
            (
                f"bundle                {self.bundle}, {self.size}",
                f"bare session          {self.bare_ms:.3f} ms a frame (median)",
                f"Derainer.derain       {self.derainer_ms:.3f} ms",
                f"loop of derain-run    {self.loop_ms:.3f} ms",
                f"overhead of the loop  {self.overhead_ms:.3f} ms "
                f"[{self.overhead_low_ms:.3f} to {self.overhead_high_ms:.3f}]",
                f"kept per frame        {self.kept_bytes_per_frame:.1f} bytes",
                f"most during a frame   {self.peak_bytes_per_frame:,} bytes, bare "
                f"session {self.bare_peak_bytes:,}, a frame has {self.frame_bytes:,}",
                f"derain-run --help     {self.help_s:.2f} s",
                f"first frame           {self.first_frame_s:.2f} s from the start of "
                "the process",
            )
        )


def measure_runtime(
    folder: Path | None, frames: int, threads: int, tell: Callable[[str], None]
) -> RuntimeCost:
    """Measure the runtime with the bundle in `folder`; None exports a small one.

    Raises:
        DerainError: There is no bundle, or it does not run.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        if folder is None:
            tell(f"exporting {_DEFAULT.name}")
            folder = _export(Path(temporary))
        bundle = Bundle.open(folder)
        image, _ = bundle.golden_frames()
        threads = threads or usable_cores()
        derainer = stack.enter_context(
            closing(Derainer(bundle, "onnxruntime", threads))
        )
        bare = _bare_session(bundle, threads)
        tell("the loop and the bare session, in turns")
        times = _times(bare, derainer, image, frames)
        differences = np.subtract(times["loop"], times["bare"])
        low, high = np.percentile(differences, (2.5, 97.5))
        tell("memory")
        kept, peak = _memory(lambda count: _run_loop(derainer, image, count))
        _, bare_peak = _memory(lambda count: _run_bare(bare, image, count))
        tell("starting derain-run")
        picture = Path(temporary) / "frame.png"
        write_picture(picture, image)
        run = [sys.executable, "-m", "derain.runtime.cli"]
        first = [str(folder), "--source", str(picture), "--sink", "null:", "--quiet"]
        first += ["--threads", str(threads)]
        return RuntimeCost(
            bundle=folder.name,
            size=f"{image.shape[1]}x{image.shape[0]}",
            frames=frames,
            bare_ms=statistics.median(times["bare"]),
            derainer_ms=statistics.median(times["derainer"]),
            loop_ms=statistics.median(times["loop"]),
            overhead_ms=float(np.median(differences)),
            overhead_low_ms=float(low),
            overhead_high_ms=float(high),
            kept_bytes_per_frame=kept,
            peak_bytes_per_frame=peak,
            bare_peak_bytes=bare_peak,
            frame_bytes=image.nbytes,
            help_s=_median_seconds([*run, "--help"]),
            first_frame_s=_median_seconds([*run, *first]),
        )


def _export(folder: Path) -> Path:
    prepared = Prepared()
    prepare(_DEFAULT, "fp32", folder, prepared)
    if "fp32" not in prepared.files:
        raise BenchmarkError(
            f"no bundle could be exported: {prepared.errors['fp32']}; give --bundle"
        )
    return prepared.files["fp32"]


def _bare_session(bundle: Bundle, threads: int) -> Callable[[Frame], object]:
    """``session.run`` and nothing else, with the options of our backend."""
    ort = load("derain.runtime.backends.ort", "ort", "")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    session = ort.InferenceSession(
        bundle.model_path, options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    outputs = [session.get_outputs()[0].name]
    return lambda image: session.run(outputs, {name: image[np.newaxis]})


def _times(
    bare: Callable[[Frame], object], derainer: Derainer, image: Frame, count: int
) -> dict[str, list[float]]:
    """Times of `count` frames in ms, one each way in turns."""
    times: dict[str, list[float]] = {"bare": [], "derainer": [], "loop": []}
    stream = derained(
        _endless(image), derainer, resize=False, latencies_ms=deque(maxlen=1)
    )
    ways: list[tuple[str, Callable[[], object]]] = [
        ("bare", lambda: bare(image)),
        ("derainer", lambda: derainer.derain(image)),
        ("loop", lambda: next(stream)),
    ]
    for i in range(_WARM + count):
        for name, work in ways[i % 3 :] + ways[: i % 3]:
            started = time.perf_counter()
            work()
            if i >= _WARM:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def _endless(image: Frame) -> Iterator[StreamFrame]:
    frame = StreamFrame(image, index=0, time=Fraction(0))
    while True:
        yield frame


def _run_loop(derainer: Derainer, image: Frame, count: int) -> None:
    stream = derained(
        _endless(image), derainer, resize=False, latencies_ms=deque(maxlen=1)
    )
    for _ in range(count):
        next(stream)


def _run_bare(bare: Callable[[Frame], object], image: Frame, count: int) -> None:
    for _ in range(count):
        bare(image)


def _memory(work: Callable[[int], object]) -> tuple[float, int]:
    """Bytes that a frame leaves behind, and the most that are taken during frames."""
    count = 50
    tracemalloc.start()
    try:
        work(_WARM)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work(count)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / count, peak - before


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
