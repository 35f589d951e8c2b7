"""The proof: an exported graph against PyTorch, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from derain.core.errors import ExportError, VerificationError
from derain.core.frame_limit import frame_limit
from derain.core.frame_tensors import Frame
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.manifest import Precision
from derain.core.metrics import CEILING_DB, psnr_of_mse

# FP32 must be the same picture: what rounds the other way lies between two levels.
FP32_MIN_IDENTICAL = 0.999
FP32_MAX_LEVELS = 1
# Some networks magnify rounding: a pool's argmax turns an error in the 7th digit into
# another position, and so into several grey levels. With random weights at 1280x720,
# GraNet's graph is PyTorch's picture in 99.915 % of pixels and NLEDN's in 99.719 %;
# PyTorch with other convolution kernels is so in 99.904 % and 99.724 %. DRSformer's is
# in 68.4 %, PyTorch's own in 82.6 %, and nothing is off by more than a level. A graph
# that scatters no more than PyTorch itself, give or take, is as right as PyTorch: its
# error has at most twice the energy. The largest difference is that of the one worst
# flip, which another run does not have: with the weights that ship, 14 of 921,600
# pixels of GraNet's graph are off by 2 or 3 levels, PyTorch's by 1.
SCATTER_EXTRA_DB = 3.0
SCATTER_EXTRA_LEVELS = 2
# Whatever PyTorch's own scatter is: all samples off by one level are 48.1 dB.
SCATTER_MIN_PSNR_DB = 48.0
FP16_MIN_PSNR_DB = 50.0
# What an INT8 picture must be is decided on the user's frames, by the gate; this finds
# a graph that was broken on its way into the file.
INT8_MIN_PSNR_DB = 32.0
# What INT8 costs on a user's frames it may not cost once more on the way into the file
# and through ONNX Runtime, give or take. FP16's roundings in front of a quantisation
# move the shipped networks by less than that.
INT8_MAX_LOSS_DB = 6.0


@dataclass(frozen=True, slots=True)
class GraphComparison:
    """How far an exported graph is from PyTorch, over all frames.

    Attributes:
        frames: Frames compared.
        max_levels: Largest difference of a sample, in grey levels of 255.
        mean_levels: Mean difference of a sample, in grey levels of 255.
        identical: Share of pixels of which all three samples are equal, in [0, 1].
        psnr_db: PSNR between the two, in dB, at most `CEILING_DB`.
    """

    frames: int
    max_levels: int
    mean_levels: float
    identical: float
    psnr_db: float

    def to_json(self) -> dict[str, Any]:
        """The figures, rounded for people."""
        return {
            "frames": self.frames,
            "max_levels": self.max_levels,
            "mean_levels": round(self.mean_levels, 6),
            "identical": round(self.identical, 6),
            "psnr_db": round(self.psnr_db, 2),
        }


def run_graph(
    model: Path,
    frames: Sequence[Frame],
    memory: GraphMemory = NO_MEMORY,
    *,
    as_written: bool = False,
) -> list[Frame]:
    """What ONNX Runtime's processor makes of `frames` with the graph in `model`.

    Args:
        model: A frame-to-frame ONNX file.
        frames: Each `(H, W, 3)` uint8 BGR, in order; a graph with states starts afresh
            where the size changes.
        memory: What the graph remembers.
        as_written: Compute Q/DQ as it is written: no integer kernels, which differ from
            processor to processor, and no rewriting for them.

    Raises:
        ExportError: ONNX Runtime refuses the graph or fails to run it.
    """
    try:
        session = open_session(model, as_written=as_written)
        return list(_run(session, frames, memory))
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise cannot_run(error) from error


def cannot_run(error: Exception) -> ExportError:
    """What ONNX Runtime's `error` comes to."""
    reason = " ".join(str(error).split())
    return ExportError(f"onnxruntime cannot run the graph: {reason}")


def open_session(model: Path, *, as_written: bool) -> ort.InferenceSession:
    """ONNX Runtime's processor with the graph in `model`; see `run_graph`."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Frames of several sizes would each leave their largest buffers in the arena.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False  # plans every buffer at once: twice the memory
    # Blocked kernels pad DCSFN's 20 channels to 32: 7.3 GB at 1280x720 instead of 4.8.
    # The golden frame is run with them whenever a bundle is opened.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(
    session: ort.InferenceSession, frames: Sequence[Frame], memory: GraphMemory
) -> Iterator[Frame]:
    name, *_ = (each.name for each in session.get_inputs())
    halves = {e.name for e in session.get_inputs() if e.type == "tensor(float16)"}
    outputs = [session.get_outputs()[0].name, *(s.output for s in memory.states)]
    states: dict[str, Any] = {}
    options = ort.RunOptions()
    options.log_severity_level = 4  # a run that fails raises
    before: tuple[int, ...] = ()
    for frame in frames:
        if frame.shape != before:
            states, before = memory.start(frame), frame.shape
            for half in halves:
                states[half] = states[half].astype(np.float16)
        with frame_limit(lambda: setattr(options, "terminate", True)):
            given = {name: frame[np.newaxis], **states}
            derained, *new = session.run(outputs, given, options)
        states = dict(zip(states, new, strict=True))
        yield cast(Frame, derained)[0]


def compare(got: Sequence[Frame], wanted: Sequence[Frame]) -> GraphComparison:
    """Compare what a graph made with what PyTorch made, frame by frame.

    Raises:
        VerificationError: A frame came out in another shape.
    """
    largest, total, equal, error, samples = 0, 0.0, 0, 0.0, 0
    for a, b in zip(got, wanted, strict=True):
        if a.shape != b.shape:
            raise VerificationError(
                f"the graph returns {a.shape}, PyTorch {b.shape}: a bug in the export"
            )
        difference = np.abs(a.astype(np.int16) - b.astype(np.int16))
        largest = max(largest, int(difference.max()))
        total += float(difference.sum())
        equal += int((difference.max(axis=2) == 0).sum())
        error += float(np.square(difference, dtype=np.int64).sum())
        samples += difference.size
    return GraphComparison(
        frames=len(got),
        max_levels=largest,
        mean_levels=total / samples,
        identical=3 * equal / samples,
        psnr_db=psnr_of_mse(error / samples, CEILING_DB),
    )


def is_fp32(result: GraphComparison) -> bool:
    """Whether an FP32 graph gives PyTorch's picture."""
    return (
        result.max_levels <= FP32_MAX_LEVELS and result.identical >= FP32_MIN_IDENTICAL
    )


def _is_within(result: GraphComparison, scatter: GraphComparison) -> bool:
    """Whether `result` is explained by PyTorch's own scatter."""
    few = result.identical >= FP32_MIN_IDENTICAL
    return (
        scatter.max_levels > 0
        and result.max_levels <= scatter.max_levels + SCATTER_EXTRA_LEVELS
        and result.psnr_db >= SCATTER_MIN_PSNR_DB
        and (few or result.psnr_db >= scatter.psnr_db - SCATTER_EXTRA_DB)
    )


def require_fp32(
    result: GraphComparison,
    min_psnr_db: float | None = None,
    scatter: GraphComparison | None = None,
) -> None:
    """Raise unless an FP32 graph gives PyTorch's picture.

    Args:
        result: The comparison.
        min_psnr_db: The user's own tolerance, in place of ours.
        scatter: How far PyTorch with other kernels is from PyTorch; wanted where
            `is_fp32` is false.

    Raises:
        VerificationError: It does not.
    """
    if min_psnr_db is not None:
        _require_psnr(result, min_psnr_db, "FP32")
        return
    if is_fp32(result) or (scatter is not None and _is_within(result, scatter)):
        return
    own = ""
    if scatter is not None:
        own = (
            f", or what PyTorch with other kernels comes to, {scatter.identical:.3%}, "
            f"{scatter.max_levels} levels and {scatter.psnr_db:.1f} dB"
        )
    raise VerificationError(
        f"the FP32 graph differs from PyTorch: {result.identical:.3%} of pixels "
        f"identical, largest difference {result.max_levels} levels, "
        f"{result.psnr_db:.1f} dB; wanted {FP32_MIN_IDENTICAL:.1%} and "
        f"{FP32_MAX_LEVELS}{own} (see --tolerance)"
    )


def require_fp16(result: GraphComparison, min_psnr_db: float | None = None) -> None:
    """Raise unless an FP16 graph is close enough to PyTorch in FP32.

    Raises:
        VerificationError: It is not.
    """
    wanted = FP16_MIN_PSNR_DB if min_psnr_db is None else min_psnr_db
    _require_psnr(result, wanted, "FP16")


def require_int8(result: GraphComparison, min_psnr_db: float | None = None) -> None:
    """Raise unless an INT8 graph is the network it should be.

    Raises:
        VerificationError: It is not.
    """
    wanted = INT8_MIN_PSNR_DB if min_psnr_db is None else min_psnr_db
    _require_psnr(result, wanted, "INT8")


def least_psnr_db(precision: Precision, min_psnr_db: float | None = None) -> float:
    """PSNR against PyTorch, in dB, below which no graph of `precision` passes.

    Args:
        precision: Of the graph.
        min_psnr_db: The user's own tolerance, in place of ours.
    """
    if min_psnr_db is not None:
        return min_psnr_db
    return {
        "fp32": SCATTER_MIN_PSNR_DB,
        "fp16": FP16_MIN_PSNR_DB,
        "int8": INT8_MIN_PSNR_DB,
    }[precision]


def require_fits_fp16(largest: float) -> None:
    """Raise where a state has values that FP16 does not have.

    Raises:
        VerificationError: Its `largest` absolute value is above 65504.
    """
    if largest > float(np.finfo(np.float16).max):
        raise VerificationError(
            f"a state reaches {largest:.3g}, which does not fit FP16, which ends at "
            "65504; export with --fp32"
        )


def require_as_measured(result: GraphComparison, expected_db: float) -> None:
    """Raise unless an INT8 file does what was measured while it was calibrated.

    Args:
        result: The file on ONNX Runtime against the graph that accuracy control
            measured, on the same frames.
        expected_db: What INT8 (and FP16) costs as measured, against FP32.

    Raises:
        VerificationError: It is far from that.
    """
    if not result.psnr_db >= expected_db - INT8_MAX_LOSS_DB:
        raise VerificationError(
            f"the INT8 graph is {expected_db:.1f} dB from FP32 as measured, but on "
            f"ONNX Runtime {result.psnr_db:.1f} dB from that: a bug in the export (see "
            "--tolerance)"
        )


def _require_psnr(result: GraphComparison, wanted: float, precision: str) -> None:
    if not result.psnr_db >= wanted:
        raise VerificationError(
            f"the {precision} graph is {result.psnr_db:.1f} dB from PyTorch, wanted "
            f"{wanted:.1f} dB (see --tolerance)"
        )
