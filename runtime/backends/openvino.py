"""OpenVINO: x86 processors, where it runs INT8 faster than FP32.

Its compiler fuses the bundles' Q/DQ into integer convolutions (VNNI), which ONNX
Runtime's processor backend does only where every result is quantised; the README has
the figures.
"""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from derain.core.batch_file import of_row
from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.core.scratch import ScratchFolder
from derain.runtime.backends.openvino_batch import OpenVinoBatch, error_line
from derain.runtime.backends.openvino_memory import TensorMemory
from derain.runtime.backends.protocol import Memory, StageTimes
from derain.runtime.backends.rows import Rows, check_rows
from derain.runtime.backends.states import HEALTH, check_names

_ERRORS_ONLY = 3  # severity of ONNX Runtime's messages
_MOST_TRIPS = 1_000_000  # of a loop; a network's have as many as it has stages

# What the bindings raise is RuntimeError, or has no common base class.
_ANY_ERROR = Exception


def check_openvino() -> str:
    """Why OpenVINO works here."""
    return f"openvino {_version()}"


def open_openvino(bundle: Bundle, threads: int = 0) -> OpenVinoBackend:
    """`bundle` on the processor."""
    return OpenVinoBackend(bundle, threads)


@functools.cache
def shared_core() -> ov.Core:
    """OpenVINO's core of this process, which is never given back.

    Each core sets the stack that signals run on and, when it goes, puts back the one
    that it found (2026.4): where the first of two goes first, the second puts back a
    stack that is freed, and the next Ctrl-C is a crash.
    """
    return ov.Core()


class OpenVinoBackend:
    """Runs a bundle's ONNX file on OpenVINO's processor device, tuned for latency.

    Raises:
        EngineError: The graph does not load.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        settings: dict[str, object] = {
            # Or BF16 is chosen without a word where the processor has it.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        if _saturates():
            settings["LP_TRANSFORMS_MODE"] = "NO"
        compiled = _compiled(bundle, bundle.model_path, settings)
        self._request: Any = compiled.create_infer_request()
        self._bundle, self._settings = bundle, settings
        self._manifest = bundle.manifest
        states = bundle.manifest.states
        inputs = _ports(compiled.inputs, [state.input for state in states])
        outputs = _ports(
            compiled.outputs, [state.output for state in states] + [HEALTH]
        )
        check_names(bundle, list(inputs), list(outputs))
        self._names = list(inputs), list(outputs)
        self._health = outputs.get(HEALTH)
        self._states = inputs | outputs
        self.times: StageTimes | None = None
        self.description = f"openvino {_version()}, processor"
        if threads:
            self.description += f", {threads} thread{'s' if threads > 1 else ''}"

    def new_memory(self) -> TensorMemory:
        """See `Backend.new_memory`."""
        return TensorMemory(self._request, self._manifest, self._states)

    def open_batch(self) -> OpenVinoBatch:
        """See `BatchingBackend.open_batch`."""
        bundle = self._bundle
        compiled = _compiled(bundle, bundle.batch_path, self._settings)
        request = compiled.create_infer_request()
        rows = range(bundle.manifest.batch)
        inputs, outputs = (
            _ports(ports, [of_row(name, row) for name in names for row in rows])
            for ports, names in zip(
                (compiled.inputs, compiled.outputs), self._names, strict=True
            )
        )
        check_rows(bundle, self._names, (list(inputs), list(outputs)))
        return OpenVinoBatch(
            request,
            inputs | outputs,
            frame=self._names[0][0],
            derained=self._names[1][0],
            has_health=self._health is not None,
            rows=Rows(bundle.manifest.batch, self.new_memory),
            one=self._request,
        )

    def infer(self, frame: NDArray[np.uint8], memory: Memory) -> NDArray[np.uint8]:
        """See `Backend.infer`."""
        if not isinstance(memory, TensorMemory) or memory.request is not self._request:
            raise EngineError(f"{self.description}: this memory is of another backend")
        started = time.perf_counter()
        try:
            memory.bind(frame)
            results = self._request.infer(
                [frame], share_inputs=True, share_outputs=True
            )
            health = 0.0 if self._health is None else float(results[self._health])
        except EngineError:
            raise
        except _ANY_ERROR as error:
            raise EngineError(f"openvino failed: {error_line(error)}") from error
        compute_ms = (time.perf_counter() - started) * 1000
        self.times = StageTimes(upload_ms=0.0, compute_ms=compute_ms, download_ms=0.0)
        memory.end(health)
        return cast(NDArray[np.uint8], results[0])

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], memory: Memory
    ) -> Generator[NDArray[np.uint8], None, None]:
        """See `Backend.stream`. One frame after the other: each takes every core."""
        for frame in frames:
            yield self.infer(frame, memory)

    def close(self) -> None:
        """See `Backend.close`. OpenVINO frees a request when it is collected."""
        self._request = None


def _compiled(bundle: Bundle, path: Path, settings: Mapping[str, object]) -> Any:
    """The graph in `path`, ready to run.

    Raises:
        EngineError: It does not load.
    """
    core = shared_core()
    try:
        model = _read(core, path)
        _require_bounded(model)
        _shield_concatenations(model)
        return core.compile_model(model, "CPU", dict(settings))
    except EngineError as error:
        raise EngineError(f"{path} {error}") from error
    except _ANY_ERROR as error:
        what_to_do = ""
        if bundle.manifest.target == "onnxruntime":
            what_to_do = "; export it without --target onnxruntime"
        raise EngineError(
            f"{path} does not load: {error_line(error)}{what_to_do}"
        ) from error


def _version() -> str:
    return str(ov.get_version()).partition("-")[0]


def _saturates(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this is an x86 processor without VNNI, where INT8 comes out wrong.

    Integer convolutions add pairs of products in 16 bits there, which saturate (AVX2:
    qsnet 35.4, treefusion 30.3, stagewise 41.4 dB from the graph as it is written). In
    FP32 the same Q/DQ are right: 59.5, 54.7 and 56.9 dB.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        return "vnni" not in cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return True


def _ports(ports: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Ports by those of `names` that they bear; the others, by any name, come first.

    A port bears the names of all tensors that OpenVINO makes one of, in no order.
    """
    found, rest = {}, list(ports)
    for name in names:
        bearers = [
            number for number, port in enumerate(rest) if name in port.get_names()
        ]
        if bearers:
            found[name] = rest.pop(bearers[0])
    return {port.get_any_name(): port for port in rest} | found


def _read(core: Any, path: Path) -> Any:
    """The graph in `path`; functions, which OpenVINO cannot read, become their bodies.

    ONNX Runtime writes it so; the runtime goes without the package ``onnx``.
    """
    try:
        return core.read_model(path)
    except _ANY_ERROR:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        with ScratchFolder(prefix="derain-openvino-") as folder:
            inlined = Path(folder) / "model.onnx"
            options.optimized_model_filepath = str(inlined)
            ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            return core.read_model(inlined.read_bytes())


def _require_bounded(model: Any) -> None:
    """Raise unless every loop has an end: none can be cancelled (2026.4).

    Raises:
        EngineError: One has none.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Loop":
            continue
        trips = node.input_value(0).get_node()
        if (
            trips.get_type_name() != "Constant"
            or not 0 <= int(trips.get_data().reshape(-1)[0]) <= _MOST_TRIPS
        ):
            raise EngineError(
                "has a loop without an end of its own, which OpenVINO cannot stop; "
                "take --backend onnxruntime"
            )


def _shield_concatenations(model: Any) -> None:
    """Keep OpenVINO from quantising the parts of a concatenation, which it gets wrong.

    It moves a quantisation in front of the concatenation, as unsigned with a zero point
    that the convolution then leaves out (2026.4, against ONNX Runtime's INT8 with the
    rest in FP16: stagewise 22.8 in place of 50.1 dB, qsnet 39.2 in place of 51.9 dB).
    A PReLU of slope 1 changes nothing, and stops it.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        source = node.input_value(0)
        above = source.get_node()
        while above.get_type_name() == "Convert":
            above = above.input_value(0).get_node()
        if above.get_type_name() == "Concat":
            same = ops.prelu(source, ops.constant(np.ones(1, np.float32)))
            node.input(0).replace_source_output(same.output(0))
