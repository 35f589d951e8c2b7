"""What a float network's tensors hold on real frames: histograms and channel means.

One pass: each tensor of interest gets extra results in the graph itself, its channels'
extremes and means (over all of it) and a sample (every third, fifth, ... row and
column; an odd step meets all phases of maps that were interleaved from a coarser
grid). What leaves ONNX Runtime is a few million numbers a frame, at 1280x720 as at
320x240.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.histograms import Histogram
from derain.calibration.layers import Layer, constant, nodes_by_name, values_by_name
from derain.calibration.observer_outputs import ObserverOutputs
from derain.calibration.session import GraphSession, Shot
from derain.core.errors import CalibrationError
from derain.core.progress import Progress, frames_line

SAMPLES = 2**19  # of a tensor and frame; qsnet has 52 tensors
ALL_SAMPLES = 2**25  # of all tensors and a frame: 128 MB
_CHANNELS = 64  # of a tensor whose shape is not known


@dataclass(slots=True)
class Observation:
    """What was seen of one tensor.

    Attributes:
        histogram: Magnitudes.
        mean: Mean of each channel, `(C,)` float64.
        frames: Frames seen.
    """

    histogram: Histogram = field(default_factory=Histogram)
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    frames: int = 0

    def add(
        self,
        sample: NDArray[np.float32],
        mean: NDArray[np.float32],
        largest: float,
        name: str,
    ) -> None:
        """Take note of a frame's tensor.

        Args:
            sample: Some of it, of any shape.
            mean: `(C,)` of all of it.
            largest: Greatest magnitude of all of it.
            name: What it is called, for messages.

        Raises:
            CalibrationError: The tensor holds NaN or infinity.
        """
        if not (np.isfinite(mean).all() and np.isfinite(largest)):
            raise CalibrationError(
                f"{name} is not finite: the float network overflows on these frames; "
                "check its weights"
            )
        self.histogram.add(sample, largest)
        self.frames += 1
        if self.frames == 1:
            self.mean = mean.astype(np.float64)
        else:
            self.mean += (mean - self.mean) / self.frames

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        histogram, mean = self.histogram.to_json(), self.mean.tolist()
        return {"histogram": histogram, "mean": mean, "frames": self.frames}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Observation:
        """The observation that `to_json` wrote."""
        histogram = Histogram.from_json(fields["histogram"])
        return cls(histogram, np.asarray(fields["mean"]), fields["frames"])


def observe(
    model: ir.Model,
    layers: Sequence[Layer],
    shots: Iterable[Shot],
) -> tuple[dict[str, Observation], dict[str, int]]:
    """Run `model` on `shots` and look at what `layers` read.

    Args:
        model: A frame-to-frame float graph; ``derain`` nodes have bodies.
        layers: Of `find_layers`.
        shots: All of one size; streamed.

    Returns:
        Observations by the tensor's name, and multiplications of each layer by its
        name.

    Raises:
        CalibrationError: There are no frames, or a tensor is not finite.
    """
    tensors = list(dict.fromkeys(layer.tensor for layer in layers))
    observations = {tensor: Observation() for tensor in tensors}
    macs: dict[str, int] = {}
    progress = Progress()
    session: GraphSession | None = None
    for done, shot in enumerate(shots, 1):
        if session is None:
            outputs = _instrumented(model, layers, tensors, shot.frame.shape[:2])
            session = GraphSession(outputs)
        seen = session.run(*shot)
        for index, tensor in enumerate(tensors):
            ends = (seen.get(f"largest_{index}{end}") for end in ("", "_below"))
            largest = max(float(end.max()) for end in ends if end is not None)
            observations[tensor].add(
                seen[f"sample_{index}"],
                seen[f"mean_{index}"].reshape(-1),
                largest,
                tensor,
            )
        if done == 1:
            nodes = nodes_by_name(model)
            macs = {
                layer.name: int(np.prod(seen[f"shape_{index}"]))
                * _taps(nodes[layer.name])
                for index, layer in enumerate(layers)
            }
        progress.update(partial(frames_line, done, None))
    progress.close()
    if session is None:
        raise CalibrationError(
            "there are no frames to calibrate on: give a video, a folder of pictures "
            "or dry footage; random data would give ranges that ruin the picture"
        )
    return observations, macs


def _taps(node: ir.Node) -> int:
    """Multiplications of a convolution for one value of its result."""
    weight = constant(node.inputs[1])
    assert weight is not None
    return int(weight[0].size)


def _instrumented(
    model: ir.Model,
    layers: Sequence[Layer],
    tensors: Sequence[str],
    frame_size: tuple[int, ...],
) -> ir.Model:
    """A copy of `model` whose outputs are what `observe` looks at."""
    copy = model.clone()
    values, nodes = values_by_name(copy), nodes_by_name(copy)
    budget = min(SAMPLES, ALL_SAMPLES // len(tensors))
    outputs = ObserverOutputs(copy)
    for index, tensor in enumerate(tensors):
        value = values[tensor]
        outputs.sample(f"sample_{index}", value, _step(value, frame_size, budget))
        outputs.largest(f"largest_{index}", value)
        outputs.mean(f"mean_{index}", value)
    for index, layer in enumerate(layers):
        outputs.shape(f"shape_{index}", nodes[layer.name].outputs[0])
    outputs.finish()
    return copy


def _step(value: ir.Value, frame_size: tuple[int, ...], budget: int) -> int:
    """The least odd step that takes no more than `budget` samples of `value`."""
    shape = list(value.shape or ())
    channels, height, width = (
        n if isinstance(n, int) else other
        for n, other in zip(
            shape[1:] or (None, None, None), (_CHANNELS, *frame_size), strict=True
        )
    )
    step = 1
    while channels * -(-height // step) * -(-width // step) > budget:
        step += 2
    return step
