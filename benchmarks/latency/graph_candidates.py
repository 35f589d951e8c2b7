"""What a person gets without this project: ``torch.onnx.export``, then a library.

Frames become tensors and back on the host, in OpenCV and NumPy, as people write it
around an ONNX graph.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from derain.benchmarks.latency.candidate import Frame, FrameMemory
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.benchmarks.latency.fed_back import FedBack
from derain.core.errors import EngineError
from derain.core.frame_tensors import to_frame, to_tensor
from derain.core.lazy import requires
from derain.core.sizes import Size
from derain.models.registry import MODELS
from derain.runtime.backends import BACKENDS

# ONNX Runtime's name for what a backend runs on.
_PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3

Shape = tuple[int, ...]
Tensor = NDArray[np.float32]  # a picture is (1, 3, H, W) in [0, 1]


def open_onnxruntime(spec: CandidateSpec) -> GraphCandidate:
    """The graph on ONNX Runtime, of whose options only the threads are set."""
    with requires(""):
        import onnxruntime as ort

    provider = _PROVIDERS[BACKENDS[spec.backend].device]
    options = ort.SessionOptions()
    options.intra_op_num_threads = spec.threads
    options.log_severity_level = _ERRORS_ONLY
    session = ort.InferenceSession(spec.file, options, providers=[provider])
    used = session.get_providers()[0]
    if used != provider:  # it falls back to the processor without a word
        raise EngineError(f"onnxruntime runs on {used}, wanted {provider}")
    names = [each.name for each in session.get_inputs()]
    shapes = [tuple(each.shape) for each in session.get_inputs()]

    def infer(tensors: list[Tensor]) -> list[Tensor]:
        feeds = dict(zip(names, tensors, strict=True))
        return cast("list[Tensor]", session.run(None, feeds))

    states = len(session.get_outputs()) - 1
    fed_back = _fed_back(shapes, states)
    library = f"onnxruntime {ort.__version__}, {used}"
    return GraphCandidate(spec, library, infer, fed_back, _memory(spec, shapes))


def open_openvino(spec: CandidateSpec) -> GraphCandidate:
    """The graph on OpenVINO's processor device, in FP32, tuned for latency."""
    with requires("openvino"):
        import openvino as ov

        from derain.runtime.backends.openvino import shared_core

    settings = {
        # Or BF16 is chosen without a word where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": spec.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = shared_core().compile_model(str(spec.file), "CPU", settings)
    request = compiled.create_infer_request()

    shapes = [tuple(each.shape) for each in compiled.inputs]
    count = len(compiled.outputs)

    def infer(tensors: list[Tensor]) -> list[Tensor]:
        results = request.infer(tensors, share_inputs=True, share_outputs=True)
        # States go in again, when these buffers are written.
        return [results[0], *(results[k].copy() for k in range(1, count))]

    version = ov.get_version().partition("-")[0]
    library, memory = f"openvino {version}, processor", _memory(spec, shapes)
    return GraphCandidate(spec, library, infer, _fed_back(shapes, count - 1), memory)


def _fed_back(shapes: Sequence[Shape], states: int) -> FedBack[Tensor]:
    """The memory of a graph whose inputs are pictures, and so many states behind."""
    window = len(shapes) - states

    def start() -> list[Tensor]:
        return [np.zeros(shape, np.float32) for shape in shapes[window:]]

    return FedBack(window, start)


def _memory(spec: CandidateSpec, shapes: Sequence[Shape]) -> FrameMemory:
    """All that goes in besides the newest picture, in FP32."""
    numbers = sum(math.prod(shape) for shape in shapes[1:])
    return FrameMemory(numbers * np.dtype(np.float32).itemsize, spec.own.look_ahead)


class GraphCandidate:
    """A float graph, `(1, 3, H, W)` in [0, 1] in and out, and the pixels around it.

    Args:
        spec: What is measured.
        library: What runs the graph, and on what.
        infer: Runs it.
        fed_back: What it remembers.
        memory: How much that is.
    """

    def __init__(
        self,
        spec: CandidateSpec,
        library: str,
        infer: Callable[[list[Tensor]], list[Tensor]],
        fed_back: FedBack[Tensor],
        memory: FrameMemory,
    ) -> None:
        entry = MODELS.get(spec.model)
        self._facts = entry.facts if entry else spec.own.facts
        self._infer = infer
        self._fed_back = fed_back
        self.memory = memory
        self.split_ms: dict[str, float] = {}
        threads = f"{spec.threads} thread{'s' if spec.threads > 1 else ''}"
        self.description = f"{library}, {threads}"

    def infer(self, frame: Frame) -> Frame:
        """See `Candidate.infer`."""
        size = Size(frame.shape[1], frame.shape[0])
        times = [time.perf_counter()]
        tensor = to_tensor(frame, self._facts)
        times.append(time.perf_counter())
        picture, *states = self._infer(self._fed_back.inputs(tensor))
        if states:
            self._fed_back.keep(states)
        times.append(time.perf_counter())
        derained = to_frame(picture, size, self._facts)
        times.append(time.perf_counter())
        self.split_ms = {
            name: (times[i + 1] - times[i]) * 1000
            for i, name in enumerate(("pre", "compute", "post"))
        }
        return derained

    def reset(self) -> None:
        """See `Candidate.reset`."""
        self._fed_back.reset()

    def device_bytes(self) -> int | None:
        """See `Candidate.device_bytes`."""
        return None

    def close(self) -> None:
        """See `Candidate.close`."""
        self.__dict__.pop("_infer", None)
