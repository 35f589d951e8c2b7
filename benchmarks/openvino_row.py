"""OpenVINO on x86: the plain graph, and the graph of our bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from derain.benchmarks.pixels import to_frame, to_tensor
from derain.benchmarks.rows import RowSpec
from derain.benchmarks.subject import Frame
from derain.models.registry import MODELS, NetworkFacts
from derain.runtime.bundle import MODEL_FILE
from derain.runtime.sizes import Size


def open_plain(spec: RowSpec) -> OpenVinoSubject:
    """The plain graph, pixels converted in NumPy and OpenCV."""
    assert spec.file is not None
    entry = MODELS.get(spec.model)
    return OpenVinoSubject(spec, spec.file, entry.facts if entry else NetworkFacts())


def open_bundle(spec: RowSpec) -> OpenVinoSubject:
    """The graph of a bundle, which takes frames."""
    assert spec.file is not None
    return OpenVinoSubject(spec, spec.file / MODEL_FILE, None)


def _inlined(file: Path) -> bytes:
    """The graph without functions, which OpenVINO cannot read; empty if it has none."""
    import onnx
    from onnx import inliner

    graph = onnx.load(file)
    if not graph.functions:
        return b""
    content: bytes = inliner.inline_local_functions(graph).SerializeToString()
    return content


class OpenVinoSubject:
    """A graph on OpenVINO's processor device, in FP32, tuned for latency.

    Args:
        spec: The row.
        file: The ONNX file.
        facts: How to make a float tensor for the graph; None where it takes frames.
    """

    def __init__(self, spec: RowSpec, file: Path, facts: NetworkFacts | None) -> None:
        core = ov.Core()
        model: object = str(file)
        if functions := _inlined(file):
            model = core.read_model(functions)
        settings = {
            # Or BF16 is chosen without a word where the processor has it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": spec.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._facts = facts
        self.split_ms: dict[str, float] = {}
        version = ov.get_version().partition("-")[0]
        self.description = (
            f"openvino {version}, processor, {spec.threads} "
            f"thread{'s' if spec.threads > 1 else ''}"
        )

    def infer(self, frame: Frame) -> Frame:
        """See `Subject.infer`."""
        size = Size(frame.shape[1], frame.shape[0])
        times = [time.perf_counter()]
        given = frame[None] if self._facts is None else to_tensor(frame, self._facts)
        times.append(time.perf_counter())
        result = self._request.infer([given], share_inputs=True, share_outputs=True)[0]
        times.append(time.perf_counter())
        if self._facts is None:
            self.split_ms = {"compute": (times[2] - times[1]) * 1000}
            return cast(Frame, result).reshape(frame.shape)
        picture = cast(NDArray[np.float32], result)
        derained = to_frame(picture, size, self._facts)
        times.append(time.perf_counter())
        self.split_ms = {
            name: (times[i + 1] - times[i]) * 1000
            for i, name in enumerate(("pre", "compute", "post"))
        }
        return derained

    def device_bytes(self) -> int | None:
        """See `Subject.device_bytes`."""
        return None

    def close(self) -> None:
        """See `Subject.close`."""
        self.__dict__.pop("_request", None)
