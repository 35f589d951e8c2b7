"""What a person gets without this project: ``torch.onnx.export``, then ONNX Runtime."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.candidates import RowSpec
from derain.benchmarks.latency.pixels import to_frame, to_tensor
from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.models.registry import MODELS, NetworkFacts

PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
}
_ERRORS_ONLY = 3


def open_plain(spec: RowSpec) -> PlainSubject:
    """The plain graph of `spec`; of ONNX Runtime's options only the threads are set."""
    return PlainSubject(spec)


class PlainSubject:
    """A float graph, `(1, 3, H, W)` in [0, 1] in and out, and the pixels around it."""

    def __init__(self, spec: RowSpec) -> None:
        provider = PROVIDERS[spec.backend]
        options = ort.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.log_severity_level = _ERRORS_ONLY
        self._session = ort.InferenceSession(spec.file, options, providers=[provider])
        used = self._session.get_providers()[0]
        if used != provider:  # it falls back to the processor without a word
            raise EngineError(f"onnxruntime runs on {used}, wanted {provider}")
        self._input = self._session.get_inputs()[0].name
        entry = MODELS.get(spec.model)
        self._facts = entry.facts if entry else NetworkFacts()
        self.split_ms: dict[str, float] = {}
        self.description = (
            f"onnxruntime {ort.__version__}, {used}, {spec.threads} "
            f"thread{'s' if spec.threads > 1 else ''}"
        )

    def infer(self, frame: Frame) -> Frame:
        """See `Subject.infer`."""
        size = Size(frame.shape[1], frame.shape[0])
        times = [time.perf_counter()]
        tensor = to_tensor(frame, self._facts)
        times.append(time.perf_counter())
        (picture,) = self._session.run(None, {self._input: tensor})
        times.append(time.perf_counter())
        derained = to_frame(cast(NDArray[np.float32], picture), size, self._facts)
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
        self.__dict__.pop("_session", None)
