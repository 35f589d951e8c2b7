"""What a person gets without this project: ``torch.onnx.export``, then a library.

Frames become tensors and back on the host, in OpenCV and NumPy, as people write it
around an ONNX graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.core.errors import EngineError
from derain.core.frame_tensors import to_frame, to_tensor
from derain.core.lazy import requires
from derain.core.sizes import Size
from derain.models.registry import MODELS, NetworkFacts
from derain.runtime.backends import BACKENDS

# ONNX Runtime's name for what a backend runs on.
_PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3

Tensor = NDArray[np.float32]  # (1, 3, H, W) in [0, 1]


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
    name = session.get_inputs()[0].name

    def infer(tensor: Tensor) -> Tensor:
        return cast(Tensor, session.run(None, {name: tensor})[0])

    return GraphCandidate(spec, f"onnxruntime {ort.__version__}, {used}", infer)


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

    def infer(tensor: Tensor) -> Tensor:
        results = request.infer([tensor], share_inputs=True, share_outputs=True)
        return cast(Tensor, results[0])

    version = ov.get_version().partition("-")[0]
    return GraphCandidate(spec, f"openvino {version}, processor", infer)


class GraphCandidate:
    """A float graph, `(1, 3, H, W)` in [0, 1] in and out, and the pixels around it.

    Args:
        spec: What is measured.
        library: What runs the graph, and on what.
        infer: Runs it.
    """

    def __init__(
        self, spec: CandidateSpec, library: str, infer: Callable[[Tensor], Tensor]
    ) -> None:
        entry = MODELS.get(spec.model)
        self._facts = entry.facts if entry else NetworkFacts()
        self._infer = infer
        self.split_ms: dict[str, float] = {}
        threads = f"{spec.threads} thread{'s' if spec.threads > 1 else ''}"
        self.description = f"{library}, {threads}"

    def infer(self, frame: Frame) -> Frame:
        """See `Candidate.infer`."""
        size = Size(frame.shape[1], frame.shape[0])
        times = [time.perf_counter()]
        tensor = to_tensor(frame, self._facts)
        times.append(time.perf_counter())
        picture = self._infer(tensor)
        times.append(time.perf_counter())
        derained = to_frame(picture, size, self._facts)
        times.append(time.perf_counter())
        self.split_ms = {
            name: (times[i + 1] - times[i]) * 1000
            for i, name in enumerate(("pre", "compute", "post"))
        }
        return derained

    def device_bytes(self) -> int | None:
        """See `Candidate.device_bytes`."""
        return None

    def close(self) -> None:
        """See `Candidate.close`."""
        self.__dict__.pop("_infer", None)
