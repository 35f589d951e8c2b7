"""Bytes that the kernels of a compiled engine read and write for one frame.

On a device that is short of bandwidth this is what a frame costs. The builder's verbose
log lists every kernel with the tensors that it reads and writes, TensorRT-RTX's on a
machine without a GPU, too; elsewhere the inspector of the loaded engine says the same.

The sum takes every tensor of every kernel as if it came from memory and went there:
one that a kernel reads twice counts twice, and none is found in a cache.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.core.manifest import Precision
from derain.core.sizes import Size, SizeRange
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.build import build
from derain.runtime.tensorrt.build_options import BuildOptions, BuildRequest
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.engine_states import StateRange
from derain.runtime.tensorrt.library import Api, installed
from derain.runtime.tensorrt.process import run_child

if TYPE_CHECKING:
    import tensorrt as trt

# Orins are 8.7, for which TensorRT-RTX has no kernels; these are of the same family.
NEAREST_TO_ORIN = "8.6"

_LOG = logging.getLogger("derain.tensorrt")
_LAYER = re.compile(
    r"Name: (?P<name>\S.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"Constants: \[(?P<constants>.*?)\], Outputs: \[(?P<outputs>.*?)\], TacticName:"
)
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\].*?Datatype: (\w+)")
_SIZES = {
    **dict.fromkeys(("double", "int64"), 8),
    **dict.fromkeys(("float", "fp32", "int32"), 4),
    **dict.fromkeys(("half", "fp16", "bfloat16", "bf16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool", "fp8"), 1),
}
_TYPE = re.compile(r"\b(" + "|".join(_SIZES) + r")\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel of an engine.

    Attributes:
        name: As the library calls it.
        kind: Its kind in the library's words, such as ``correlation``.
        read_bytes: Maps and constants that it reads.
        written_bytes: Maps that it writes.
    """

    name: str
    kind: str
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBytes:
    """What an engine moves for one frame.

    Attributes:
        backend: The library that compiled it.
        version: Its version.
        size: Of the frame.
        kernels: In the order they run.
    """

    backend: EngineBackend
    version: str
    size: Size
    kernels: tuple[Kernel, ...]

    @property
    def moved_bytes(self) -> int:
        """Read and written by all kernels."""
        return sum(k.read_bytes + k.written_bytes for k in self.kernels)


def measure_engine_bytes(
    model: Path,
    precision: Precision,
    size: Size,
    backend: EngineBackend | None = None,
    states: tuple[StateRange, ...] = (),
) -> EngineBytes:
    """Compile `model` for frames of `size`, and sum up what its kernels move.

    The engine is built in a process of its own and not kept.

    Args:
        model: The ONNX file of a bundle.
        precision: What its bundle says about it.
        size: One size that it takes.
        backend: The library; None takes TensorRT-RTX, which needs no GPU, or else
            TensorRT.
        states: What the model remembers, for frames of `size`; their bytes are in the
            sum as any other tensor's.

    Raises:
        EngineError: Neither is installed, or the model cannot be compiled.
    """
    names = installed()
    if backend is None and not names:
        raise EngineError(
            "neither tensorrt nor tensorrt_rtx is installed; "
            "run: pip install 'derain[tensorrt-rtx]'"
        )
    backend = backend or names[-1]
    capabilities = (NEAREST_TO_ORIN,) if backend == "tensorrt-rtx" else ()
    request = BuildRequest(
        backend=backend,
        model=model,
        precision=precision,
        sizes=SizeRange.static(size),
        options=BuildOptions(compute_capabilities=capabilities),
        states=states,
    )
    answer = run_child({"action": "kernels", "build": request.to_json()})
    return EngineBytes(
        backend=backend,
        version=answer["version"],
        size=size,
        kernels=tuple(Kernel(**fields) for fields in answer["kernels"]),
    )


def build_and_list(api: Api, request: BuildRequest) -> dict[str, Any]:
    """Build an engine in this process; see `measure_engine_bytes`.

    Returns:
        As JSON: the library's ``version`` and the ``kernels``.

    Raises:
        EngineError: It cannot be built, or nothing says what its kernels are.
    """
    with _said() as lines:
        plan, _ = build(api, request, None, lambda part, phase: None)
    kernels = kernels_of_log(lines) or _inspect(api, plan)
    if not kernels:
        raise EngineError(f"{api.name} {api.version} does not say what its kernels are")
    return {"version": api.version, "kernels": [asdict(each) for each in kernels]}


def kernels_of_log(lines: Iterable[str]) -> list[Kernel]:
    """The kernels in a builder's verbose log, which lists them after ``Layers:``."""
    kernels = []
    for line in lines:
        if not line.startswith("Layers:"):
            continue
        for layer in _LAYER.finditer(line):
            inputs, constants, outputs = (
                sum(_bytes(lengths.split(","), kind) for lengths, kind in found)
                for found in map(
                    _TENSOR.findall, layer.group("inputs", "constants", "outputs")
                )
            )
            if inputs or outputs:  # not a signal to another stream, or a wait for one
                kernels.append(
                    Kernel(
                        name=layer["name"],
                        kind=layer["kind"],
                        read_bytes=inputs + constants,
                        written_bytes=outputs,
                    )
                )
    return kernels


def kernels_of_inspector(information: str) -> list[Kernel]:
    """The kernels in what the inspector says about an engine, as JSON text."""
    kernels = []
    for layer in json.loads(information).get("Layers", []):
        if not isinstance(layer, Mapping):  # its name alone: not built for inspection
            continue
        read, written = (
            sum(
                map(
                    _described,
                    [tensor for key in keys for tensor in layer.get(key, [])],
                )
            )
            for keys in (("Inputs", "Constants"), ("Outputs",))
        )
        if layer.get("Inputs") or layer.get("Outputs"):
            kernels.append(
                Kernel(
                    name=str(layer.get("Name", "")),
                    kind=str(layer.get("LayerType", "")),
                    read_bytes=read,
                    written_bytes=written,
                )
            )
    return kernels


def _inspect(api: Api, plan: bytes) -> list[Kernel]:
    runtime: trt.Runtime = versions.create_runtime(api, version_compatible=False)
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return []
    inspector: trt.EngineInspector = engine.create_engine_inspector()
    return kernels_of_inspector(
        inspector.get_engine_information(api.trt.LayerInformationFormat.JSON)
    )


def _described(tensor: Mapping[str, Any]) -> int:
    keys = ("Format/Datatype", "Datatype", "Format")
    found = (_TYPE.search(str(tensor.get(key, ""))) for key in keys)
    kind = next((match[1] for match in found if match), "")
    return _bytes(tensor.get("Dimensions", []), kind)


def _bytes(lengths: Iterable[object], kind: str) -> int:
    """Bytes of a tensor; of a type that we do not know, one for each number."""
    count = math.prod(int(str(length)) for length in lengths if str(length).strip())
    return count * _SIZES.get(kind.lower(), 1)


@contextmanager
def _said() -> Iterator[list[str]]:
    """What the library says in the block, details included."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, level, propagate = Keep(), _LOG.level, _LOG.propagate
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.DEBUG)
    _LOG.propagate = False
    try:
        yield lines
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)
        _LOG.propagate = propagate
