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

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.core.manifest import Manifest
from derain.core.scratch import ScratchFolder
from derain.runtime.backends.protocol import Memory, StageTimes
from derain.runtime.backends.states import HEALTH, SwappedStates, check_names

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
        core = shared_core()
        try:
            model = _read(core, bundle.model_path)
            _require_bounded(model)
            _shield_concatenations(model)
            compiled = core.compile_model(model, "CPU", settings)
            self._request: Any = compiled.create_infer_request()
        except EngineError as error:
            raise EngineError(f"{bundle.model_path} {error}") from error
        except _ANY_ERROR as error:
            what_to_do = ""
            if bundle.manifest.target == "onnxruntime":
                what_to_do = "; export it without --target onnxruntime"
            raise EngineError(
                f"{bundle.model_path} does not load: {_line(error)}{what_to_do}"
            ) from error
        self._manifest = bundle.manifest
        states = bundle.manifest.states
        inputs = _ports(compiled.inputs, [state.input for state in states])
        outputs = _ports(
            compiled.outputs, [state.output for state in states] + [HEALTH]
        )
        check_names(bundle, list(inputs), list(outputs))
        self._health = outputs.get(HEALTH)
        self._states = inputs | outputs
        self.times: StageTimes | None = None
        self.description = f"openvino {_version()}, processor"
        if threads:
            self.description += f", {threads} thread{'s' if threads > 1 else ''}"

    def new_memory(self) -> TensorMemory:
        """See `Backend.new_memory`."""
        return TensorMemory(self._request, self._manifest, self._states)

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
            raise EngineError(f"openvino failed: {_line(error)}") from error
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


class TensorMemory(SwappedStates[Any]):
    """See `Memory`: tensors that are set as the request's inputs and outputs, in turns.

    OpenVINO's own states (`MakeStateful`) belong to a request: each stream of frames
    would take one, with all that the network needs in between. They save a copy of each
    state into the layout that convolutions have: 1 % of a frame (16 channels at half
    size, 9 convolutions of 32, 1280x720, 2026.4 on one busy core, least time of 12:
    499 ms bound, 495 ms with its states, 488 ms the graph without them).

    Args:
        request: Of OpenVINO.
        manifest: Of its bundle.
        ports: The request's inputs and outputs by their names in the graph.
    """

    def __init__(
        self, request: Any, manifest: Manifest, ports: Mapping[str, Any]
    ) -> None:
        super().__init__(
            manifest,
            lambda shape, dtype: ov.Tensor(ov.Type(dtype), ov.Shape(shape)),
            lambda tensor, array: np.copyto(tensor.data, array),
        )
        self.request = request
        self._ports = ports
        self._turns: list[list[tuple[Any, Any]]] = []

    def bind(self, frame: NDArray[np.uint8]) -> None:
        """Let the request read and write the states as it is `frame`'s turn."""
        if self.begin(frame):
            self._turns = [
                [
                    (self._ports[name], tensor)
                    for side in self.bindings(turn)
                    for name, tensor in side.items()
                ]
                for turn in range(2)
            ]
        for port, tensor in self._turns[self.turn]:
            self.request.set_tensor(port, tensor)

    def _free(self) -> None:
        self._turns = []
        super()._free()


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


def _line(error: Exception) -> str:
    """What OpenVINO says, without the places in its own sources."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    said = [x for x in lines if x and not x.startswith(("Exception from", "Check '"))]
    if "Summary:" in said:  # after a page of what came of it
        said = [said[said.index("Summary:") + 1].removeprefix("-- ")]
    return " ".join(said or lines)
