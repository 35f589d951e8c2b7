"""What a float network's tensors hold on real frames: histograms and channel means.

One pass: each tensor of interest gets extra outputs in the graph itself, its extremes
(over all of it) and a sample (every third, fifth, ... row and column; an odd step meets
all phases of maps that were interleaved from a coarser grid). What leaves ONNX Runtime
is a few million numbers a frame, at 1280x720 as at 320x240.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.errors import CalibrationError
from derain.calibration.histograms import Histogram
from derain.calibration.layers import (
    Layer,
    add_initializer,
    constant,
    nodes_by_name,
    values_by_name,
)
from derain.calibration.session import Frame, Session

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
        self, sample: NDArray[np.float32], least: float, greatest: float, name: str
    ) -> None:
        """Take note of a frame's tensor; see `Histogram.add`."""
        self.histogram.add(sample, least, greatest, name)
        mean = sample.mean(axis=(0, 2, 3), dtype=np.float64)
        self.frames += 1
        if self.frames == 1:
            self.mean = mean
        else:
            self.mean += (mean - self.mean) / self.frames


def observe(
    model: ir.Model,
    layers: Sequence[Layer],
    frames: Iterable[Frame],
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Observation], dict[str, int]]:
    """Run `model` on `frames` and look at what `layers` read.

    Args:
        model: A frame-to-frame float graph; ``derain`` nodes have bodies.
        layers: Of `find_layers`.
        frames: Each `(H, W, 3)` uint8 BGR, all of one size; streamed.
        progress: Told how many frames are done.

    Returns:
        Observations by the tensor's name, and multiplications of each layer by its
        name.

    Raises:
        CalibrationError: There are no frames, or a tensor is not finite.
    """
    tensors = list(dict.fromkeys(layer.tensor for layer in layers))
    observations = {tensor: Observation() for tensor in tensors}
    macs: dict[str, int] = {}
    session: Session | None = None
    for done, frame in enumerate(frames, 1):
        if session is None:
            probes = _instrumented(model, layers, tensors, frame.shape[:2])
            session = Session(probes, probed=True)
        seen = session.run(frame)
        for index, tensor in enumerate(tensors):
            least, greatest = (
                float(seen[f"least_{index}"]),
                float(seen[f"most_{index}"]),
            )
            sample = seen[f"sample_{index}"]
            observations[tensor].add(sample, least, greatest, tensor)
        if done == 1:
            nodes = nodes_by_name(model)
            macs = {
                layer.name: int(np.prod(seen[f"shape_{index}"]))
                * _taps(nodes[layer.name])
                for index, layer in enumerate(layers)
            }
        progress(done)
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
    graph = copy.graph
    values, nodes = values_by_name(copy), nodes_by_name(copy)
    first = add_initializer(graph, "observe_first", np.zeros(2, np.int64))
    last = add_initializer(graph, "observe_last", np.full(2, 2**31, np.int64))
    axes = add_initializer(graph, "observe_axes", np.array([2, 3], np.int64))
    budget = min(SAMPLES, ALL_SAMPLES // len(tensors))
    steps: dict[int, ir.Value] = {}
    outputs: list[ir.Value] = []

    def op(
        op_type: str,
        name: str,
        *inputs: ir.Value,
        int64: bool = False,
        **attributes: int,
    ) -> None:
        attrs = ir.convenience.convert_attributes(attributes)
        node = ir.Node("", op_type, inputs, attrs, name=f"observe_{name}")
        node.outputs[0].name = name
        node.outputs[0].type = ir.TensorType(
            ir.DataType.INT64 if int64 else ir.DataType.FLOAT
        )
        producer = inputs[0].producer()
        if producer is None:
            graph.insert_before(graph[0], node)
        else:
            graph.insert_after(producer, node)
        outputs.append(node.outputs[0])

    for index, tensor in enumerate(tensors):
        value = values[tensor]
        step = _step(value, frame_size, budget)
        if step not in steps:
            array = np.full(2, step, np.int64)
            steps[step] = add_initializer(graph, f"observe_step_{step}", array)
        op("Slice", f"sample_{index}", value, first, last, axes, steps[step])
        op("ReduceMin", f"least_{index}", value, keepdims=0)
        op("ReduceMax", f"most_{index}", value, keepdims=0)
    for index, layer in enumerate(layers):
        output = nodes[layer.name].outputs[0]
        op("Shape", f"shape_{index}", output, int64=True)
    graph.outputs[:] = outputs
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
