"""Whether a graph with states moves away from PyTorch, frame by frame: the drift.

What a state is wrong by goes in again with the next frame. So many frames are looked
at, and small ones: where the graph does not take these, the network is exported once
more. In FP16 it is the graph whose tensors and states are rounded.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from derain.calibration.apply import apply_calibration
from derain.calibration.calibration_file import Calibration
from derain.core.errors import VerificationError
from derain.core.manifest import Target
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size, SizeRange
from derain.core.synthetic.rain import rainy_clip
from derain.export import verify
from derain.export.fp16 import emulate_fp16
from derain.export.frame_graph import wrap_frame
from derain.export.operators.lowering import lower_operators
from derain.export.passes import optimize
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.video_network import VideoNetwork
from derain.models.video_stream import VideoStream

_log = logging.getLogger(__name__)

FRAMES = 64
ENDS = 8  # frames at the beginning, and at the end
SMALL = Size(96, 64)
# A loss that may be the error of a memory that has filled, and not one that grows.
NOTED_DB = 3.0
NOTED_BELOW_DB = 70.0  # above, a rounding that flips here and there is all there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How close a graph stays to PyTorch.

    Attributes:
        frames: How many were looked at.
        size: Of the frames.
        first_psnr_db: Against PyTorch, in dB, over the first `ENDS` of them.
        last_psnr_db: Over the last `ENDS`.
    """

    frames: int
    size: Size
    first_psnr_db: float
    last_psnr_db: float

    def to_json(self) -> dict[str, Any]:
        """The figures, rounded for people."""
        return {
            "frames": self.frames,
            "size": str(self.size),
            "first_psnr_db": round(self.first_psnr_db, 2),
            "last_psnr_db": round(self.last_psnr_db, 2),
        }


def measure_drift(
    core: CoreGraph,
    video: VideoNetwork,
    sizes: SizeRange,
    *,
    opset: int,
    row: Target,
    half: Set[str] | None,
    calibration: Calibration | None = None,
) -> Drift:
    """Run `FRAMES` frames through the graph and through PyTorch.

    Args:
        core: The frame-to-frame graph in FP32, behind the passes, without bodies of
            operators; stays as it is.
        video: Its network, with states, in eval mode, float32.
        sizes: Frames that it takes.
        opset: Version of the standard operators.
        row: Of graph passes.
        half: Nodes that stay in FP32 where the others are in FP16; None is FP32.
        calibration: Of INT8, where convolutions are in INT8.

    Raises:
        ExportError: It cannot be exported at the small size.
    """
    low, high = sizes.minimum, sizes.maximum
    if sizes.is_static:
        low = Size(1, 1)
    small = Size(
        max(low.width, min(SMALL.width, high.width)),
        max(low.height, min(SMALL.height, high.height)),
    )
    facts = video.facts
    if small in sizes:
        mode = facts.pad_mode(sizes)
        core = CoreGraph(core.model.clone(), core.maps, core.memory)
    else:
        static = SizeRange.static(small)
        mode = facts.pad_mode(static)
        core = to_onnx(video, facts, static, opset)
        wrap_frame(core, facts, static)
        optimize(core.model, row)
    if calibration is not None:
        apply_calibration(calibration, core.model)
    if half is not None:
        emulate_fp16(core.model, half)
    lower_operators(core.model, "any", core.maps)
    frames = [rainy for rainy, _ in rainy_clip(small, FRAMES, seed=7)]
    with ScratchFolder() as folder:
        path = Path(folder) / "drift.onnx"
        ir.save(core.model, path)
        small_steps = calibration is not None
        got = verify.run_graph(path, frames, core.memory, as_written=small_steps)
    stream = VideoStream(video, mode)
    wanted = [stream.derain(frame) for frame in frames]
    first = verify.compare(got[:ENDS], wanted[:ENDS])
    last = verify.compare(got[-ENDS:], wanted[-ENDS:])
    return Drift(
        frames=FRAMES,
        size=small,
        first_psnr_db=first.psnr_db,
        last_psnr_db=last.psnr_db,
    )


def require_bounded(drift: Drift, wanted_db: float) -> None:
    """Raise unless the last frames are as close to PyTorch as all must be.

    Raises:
        VerificationError: They are not.
    """
    first, last = drift.first_psnr_db, drift.last_psnr_db
    if not last >= wanted_db:
        raise VerificationError(
            f"the graph drifts from PyTorch: {first:.1f} dB over the first {ENDS} of "
            f"{drift.frames} frames, {last:.1f} dB over the last, wanted "
            f"{wanted_db:.1f} dB (see --tolerance)"
        )
    if last < min(first - NOTED_DB, NOTED_BELOW_DB):
        _log.warning(
            f"the graph is {first:.1f} dB from PyTorch in the first {ENDS} of "
            f"{drift.frames} frames, and {last:.1f} dB in the last"
        )
