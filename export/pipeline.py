"""From a model's name to a proven bundle: the road every export takes.

open the network -> frames for INT8 -> PyTorch's exporter -> passes -> frame contract ->
precision -> operator bodies -> model.onnx -> comparison with PyTorch -> manifest ->
rename
"""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.apply import apply_calibration
from derain.calibration.calibration_file import Calibration
from derain.calibration.data import CalibrationData
from derain.calibration.qdq import part_biases
from derain.calibration.report import summary
from derain.core.bundle import GOLDEN_INPUT, GOLDEN_OUTPUT, MODEL_FILE, sha256
from derain.core.errors import ExportError
from derain.core.manifest import (
    CONTRACT,
    FILE_NAME,
    Golden,
    Manifest,
    Precision,
    Target,
)
from derain.core.pictures import write_picture
from derain.core.progress import Stages
from derain.core.sizes import Size, SizeRange
from derain.export import verify
from derain.export.bundle_writer import check_target, new_bundle
from derain.export.fp16 import to_fp16
from derain.export.fp16_search import HalfChoice, choose_half_precision
from derain.export.frame_graph import wrap_frame
from derain.export.frames import verification_frames
from derain.export.int8 import (
    CalibrationRequest,
    expected_psnr_db,
    plan_int8,
    read_int8,
    run_as_measured,
)
from derain.export.noise_floor import other_kernels
from derain.export.operators.lowering import lower_operators
from derain.export.passes import optimize
from derain.export.passes.cleanup import remove_dead
from derain.export.reference import derain_with_torch
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.loading import LoadedNetwork, open_network
from derain.models.registry import NetworkFacts
from derain.runtime.tensorrt import preflight

_log = logging.getLogger(__name__)

Frame = NDArray[np.uint8]
CALIBRATION_FILE = "calibration.json"

# How far a healthy backend may be from the golden frame: GPUs add in another order, in
# TF32 or FP16. A broken one is some 10 to 25 dB away.
_GOLDEN_MIN_PSNR_DB: dict[Precision, float] = {
    "fp32": 45.0,
    "fp16": 40.0,
    "int8": 32.0,
}
# DCSFN takes a minute a frame; one large frame proves as much as two.
_TORCH_SECONDS = 20.0
_TOOLS = ("derain", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What ``derain-export`` was asked for.

    Attributes:
        model: Name in `derain.models.registry.MODELS`, or ``package.module:Class``.
        sizes: Frame sizes the graph must accept.
        precision: Precision of the graph's tensors.
        target: What the graph is written for.
        weights: Checkpoint; None takes the weights that ship with the package.
        random_weights: Take untrained weights, for benchmarks.
        facts: How to feed a network of the user's own; None takes the registry's.
        opset: Version of the standard operators.
        min_psnr_db: Tolerance in place of ours.
        frames: Picture or folder to verify on; None takes the package's photographs.
        output: Folder of the bundle; None names it after the model.
        force: Replace an existing bundle.
        int8: What to calibrate on, or what came of it before; for INT8.
    """

    model: str
    sizes: SizeRange
    precision: Precision = "fp32"
    target: Target = "any"
    weights: Path | None = None
    random_weights: bool = False
    facts: NetworkFacts | None = None
    opset: int = 20
    min_psnr_db: float | None = None
    frames: Path | None = None
    output: Path | None = None
    force: bool = False
    int8: CalibrationRequest | Calibration | None = None

    def __post_init__(self) -> None:
        if (self.precision == "int8") != (self.int8 is not None):
            raise ExportError("INT8 and where its ranges come from go together")

    @property
    def folder(self) -> Path:
        """Where the bundle goes."""
        if self.output is not None:
            return self.output
        name = self.model.rpartition(":")[2].lower()
        size = str(self.sizes) if self.sizes.is_static else "dynamic"
        target = "" if self.target == "any" else f"-{self.target}"
        return Path(f"{name}-{self.precision}{target}-{size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        folder: The bundle.
        manifest: Its manifest.
        model_bytes: Size of ``model.onnx``.
        nodes: Nodes of the graph, function calls counted as one.
        seconds: How long each stage took.
    """

    folder: Path
    manifest: Manifest
    model_bytes: int
    nodes: int
    seconds: dict[str, float]


def export_bundle(request: ExportRequest) -> ExportResult:
    """Export a network and prove the result.

    Raises:
        DerainError: Anything that is wrong with the request, the network, its weights
            or the result; an existing bundle is then as it was.
    """
    stages = Stages()
    check_target(request.folder, force=request.force)
    with stages.stage("opening the network"):
        loaded = open_network(
            request.model,
            weights=request.weights,
            random_weights=request.random_weights,
            facts=request.facts,
        )
    with read_int8(
        request.int8, request.sizes.optimum, force=request.force
    ) as material:
        return _export(request, loaded, material, stages)


def _export(
    request: ExportRequest,
    loaded: LoadedNetwork,
    material: CalibrationData | Calibration | None,
    stages: Stages,
) -> ExportResult:
    """Everything behind the opened network and what INT8 is calibrated on."""
    facts = loaded.facts
    with stages.stage("exporting with PyTorch"):
        core = to_onnx(loaded.network, facts, request.sizes, request.opset)
    with stages.stage("optimising the graph"):
        wrap_frame(core, facts, request.sizes)
        passes = optimize(core.model, request.target)
    with stages.stage("deraining with PyTorch"):
        frames, wanted = _derain(loaded, _frames(request))
    half = HalfChoice()
    if _has_halves(request):
        with stages.stage("measuring FP16"):
            half = choose_half_precision(core, frames, wanted)
        assert half.comparison is not None
        least = request.min_psnr_db if request.precision == "fp16" else None
        verify.require_fp16(half.comparison, least)
    calibration: Calibration | None = None
    measured: list[Frame] = []
    if material is not None:
        with stages.stage("calibrating INT8"):
            calibration = plan_int8(core, material)
        apply_calibration(calibration, core.model)
        measured = run_as_measured(core, frames)
    if _has_halves(request):
        to_fp16(core.model, half.keep_fp32)
        part_biases(core.model)
    remove_dead(core.model)
    operators = lower_operators(core.model, request.target, core.maps)
    with new_bundle(request.folder, force=request.force) as folder:
        with stages.stage("writing and checking model.onnx"):
            _save(core, loaded, request, folder / MODEL_FILE)
        parser: dict[str, Any] = {}
        if request.target == "tensorrt":
            with stages.stage("asking TensorRT's parser"):
                parser = _ask_parser(folder / MODEL_FILE)
        with stages.stage("comparing with PyTorch"):
            got = verify.run_graph(folder / MODEL_FILE, frames)
            comparison = verify.compare(got, wanted)
        scatter: verify.Comparison | None = None
        asked = request.precision == "fp32" and request.min_psnr_db is None
        if asked and not verify.is_fp32(comparison):
            with stages.stage("measuring how PyTorch itself scatters"):
                scatter = _scatter(loaded, frames, wanted)
        if request.precision == "fp32":
            verify.require_fp32(comparison, request.min_psnr_db, scatter)
        elif request.precision == "fp16":
            verify.require_fp16(comparison, request.min_psnr_db)
        else:
            assert calibration is not None
            verify.require_int8(comparison, request.min_psnr_db)
            if request.min_psnr_db is None:
                expected = expected_psnr_db(calibration, half.comparison)
                verify.require_as_measured(verify.compare(got, measured), expected)
            got = verify.run_graph(folder / MODEL_FILE, frames, as_written=True)
        if calibration is not None:
            calibration.write(folder / CALIBRATION_FILE)
        golden = _golden_index(frames, request.sizes.optimum)
        write_picture(folder / GOLDEN_INPUT, frames[golden])
        write_picture(folder / GOLDEN_OUTPUT, got[golden])
        verification = {"onnxruntime": comparison.to_json()}
        if scatter is not None:
            verification["pytorch_other_kernels"] = scatter.to_json()
        if half.comparison is not None:
            verification["fp16_emulated"] = half.comparison.to_json()
        if calibration is not None:
            halves = _has_halves(request)
            verification["int8"] = summary(calibration, rest_in_fp16=halves)
        if parser:
            verification["parser"] = parser
        manifest = _manifest(
            request,
            loaded,
            folder,
            operators=operators,
            passes=passes,
            fp32_nodes=tuple(sorted(half.keep_fp32)),
            verification=verification,
        )
        manifest.write(folder)
        model_bytes = (folder / MODEL_FILE).stat().st_size
    return ExportResult(
        folder=request.folder,
        manifest=manifest,
        model_bytes=model_bytes,
        nodes=len(core.model.graph),
        seconds=stages.seconds,
    )


def _has_halves(request: ExportRequest) -> bool:
    """Whether what is not INT8 is FP16: everywhere but on processors' own kernels.

    ONNX Runtime's processor has no FP16 kernels; Casts around every layer would keep
    it from its INT8 ones.
    """
    return request.precision == "fp16" or (
        request.precision == "int8" and request.target != "onnxruntime"
    )


def _derain(
    loaded: LoadedNetwork, frames: list[Frame]
) -> tuple[list[Frame], list[Frame]]:
    """The frames that PyTorch derains within `_TORCH_SECONDS`, and its results.

    The first two are derained whatever that takes when they differ in size: the range
    of sizes has to be proven.
    """
    needed = 1 if frames[0].shape == frames[-1].shape else 2
    start = time.perf_counter()
    wanted: list[Frame] = []
    for frame in frames:
        if len(wanted) >= needed and time.perf_counter() - start > _TORCH_SECONDS:
            break
        wanted.append(derain_with_torch(loaded.network, loaded.facts, frame))
    return frames[: len(wanted)], wanted


def _scatter(
    loaded: LoadedNetwork, frames: list[Frame], wanted: list[Frame]
) -> verify.Comparison:
    """How far PyTorch is from itself with other convolution kernels."""
    with other_kernels():
        frames, other = _derain(loaded, frames)
    return verify.compare(other, wanted[: len(frames)])


def _frames(request: ExportRequest) -> list[Frame]:
    """Two frames of the one size, or one each of several sizes of a range."""
    sizes = request.sizes
    if sizes.is_static:
        return verification_frames(sizes.optimum, 2, request.frames)
    low, middle = sizes.minimum, sizes.optimum
    between = Size((low.width + middle.width) // 2, (low.height + middle.height) // 2)
    frames = []
    for size in dict.fromkeys((low, middle, between)):
        frames += verification_frames(size, 1, request.frames)
    return frames


def _golden_index(frames: list[Frame], size: Size) -> int:
    return next(
        k
        for k, frame in enumerate(frames)
        if frame.shape[:2] == (size.height, size.width)
    )


def _save(
    core: CoreGraph, loaded: LoadedNetwork, request: ExportRequest, path: Path
) -> None:
    model = core.model
    model.producer_name = "derain"
    model.producer_version = importlib.metadata.version("derain")
    model.graph.name = loaded.name
    model.doc_string = f"{loaded.name}, {request.precision}: {CONTRACT}"
    model.metadata_props.clear()
    for node in model.graph:  # traces of our user's source files and folders
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()
    proto = ir.to_proto(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker raises several unrelated C++ errors
        reason = " ".join(str(error).split())
        raise ExportError(f"the graph is not valid ONNX: {reason}") from error
    onnx.save(proto, path)


def _ask_parser(model: Path) -> dict[str, Any]:
    """What TensorRT's parser says about the file, for the manifest; {} if none is here.

    Raises:
        ExportError: It refuses a node.
    """
    try:
        answer = preflight.check(model)
    except preflight.NoParserError as error:
        _log.warning("not checked by TensorRT's parser: %s", error)
        return {}
    if answer.refused:
        nodes = "; ".join(f"{n}; {preflight.advice(n)}" for n in answer.refused)
        raise ExportError(
            f"{answer.backend} {answer.version} refuses {len(answer.refused)} nodes: "
            f"{nodes}"
        )
    return {
        "backend": answer.backend,
        "version": answer.version,
        "layers": answer.layers,
        "refused": 0,
    }


def _manifest(
    request: ExportRequest,
    loaded: LoadedNetwork,
    folder: Path,
    *,
    operators: dict[str, str],
    passes: dict[str, int],
    fp32_nodes: tuple[str, ...],
    verification: dict[str, dict[str, Any]],
) -> Manifest:
    tools = {name: importlib.metadata.version(name) for name in _TOOLS}
    tools["python"] = platform.python_version()
    kind = type(loaded.network)
    now = datetime.datetime.now(datetime.timezone.utc)
    return Manifest(
        model=loaded.name,
        precision=request.precision,
        target=request.target,
        sizes=request.sizes,
        golden=Golden(
            input=GOLDEN_INPUT,
            output=GOLDEN_OUTPUT,
            min_psnr_db=_GOLDEN_MIN_PSNR_DB[request.precision],
        ),
        files={
            path.name: sha256(path)
            for path in sorted(folder.iterdir())
            if path.name != FILE_NAME
        },
        weights=loaded.weights,
        network={
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "paper": loaded.paper,
            **asdict(loaded.facts),
            "parameters": sum(p.numel() for p in loaded.network.parameters()),
        },
        operators=operators,
        fp32_nodes=fp32_nodes,
        passes=passes,
        verification=verification,
        tools=tools,
        created=now.isoformat(timespec="seconds"),
    )
