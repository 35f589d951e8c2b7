"""The plain graph on OpenVINO, which many turn to on x86."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.candidates import RowSpec
from derain.benchmarks.latency.pixels import to_frame, to_tensor
from derain.core.sizes import Size
from derain.models.registry import MODELS, NetworkFacts


def open_plain(spec: RowSpec) -> OpenVinoSubject:
    """The plain graph, pixels converted in NumPy and OpenCV."""
    assert spec.file is not None
    entry = MODELS.get(spec.model)
    return OpenVinoSubject(spec, spec.file, entry.facts if entry else NetworkFacts())


class OpenVinoSubject:
    """A graph on OpenVINO's processor device, in FP32, tuned for latency.

    Args:
        spec: The row.
        file: The ONNX file.
        facts: How to make a float tensor for the graph.
    """

    def __init__(self, spec: RowSpec, file: Path, facts: NetworkFacts) -> None:
        core = ov.Core()
        settings = {
            # Or BF16 is chosen without a word where the processor has it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": spec.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(str(file), "CPU", settings)
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
        given = to_tensor(frame, self._facts)
        times.append(time.perf_counter())
        result = self._request.infer([given], share_inputs=True, share_outputs=True)[0]
        times.append(time.perf_counter())
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
