"""The rows of the table: every way to derain a frame that is compared.

Data alone, so that ``--help`` lists them without loading any library; the module of a
row is imported in the process that runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from derain.benchmarks.own_network import OwnNetwork
from derain.core.lazy import load
from derain.core.sizes import Size
from derain.runtime.backends import BACKENDS
from derain.runtime.cuda.probe import has_cuda_device

if TYPE_CHECKING:
    from derain.benchmarks.latency.candidate import Candidate

Artefact = Literal[
    "", "plain", "fp32", "fp16", "int8", "fp32-onnxruntime", "int8-onnxruntime"
]
REFERENCE = "eager"  # the row that speed and quality are measured against


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateEntry:
    """One kind of row.

    Attributes:
        module: Module under `derain.benchmarks`.
        factory: Callable in it: ``factory(spec)`` returns a `Candidate`.
        extra: The ``derain[...]`` extra that installs its library; empty where the
            plain install has it.
        package: Module that must be importable, or the row is left out.
        summary: What it is, in a few words.
        precision: Of the arithmetic.
        artefact: What must be exported for it.
        gpu: Runs on an NVIDIA GPU only.
        backends: It exists once for each backend that is there.
        backend_module: Only for backends of this module; empty for all.
        environment: Variables that its process starts with.
    """

    module: str
    factory: str
    summary: str
    extra: str = "export"
    package: str = "torch"
    precision: str = "fp32"
    artefact: Artefact = ""
    gpu: bool = False
    backends: bool = False
    backend_module: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_pytorch(self) -> bool:
        """Whether PyTorch derains, and not a graph that was made of it."""
        return self.package == "torch"

    def runs_on(self, backend: str) -> bool:
        """Whether it exists for the backend called `backend`."""
        return self.backend_module in ("", BACKENDS[backend].module)


# What runs a plain export, and what is written for ONNX Runtime's own kernels.
_ONNXRUNTIME = BACKENDS["onnxruntime"].module

CANDIDATES = {
    "eager": CandidateEntry(
        module="torch_candidates",
        factory="open_eager",
        summary="PyTorch eager, as people run it",
    ),
    "eager-channels-last": CandidateEntry(
        module="torch_candidates",
        factory="open_channels_last",
        summary="PyTorch eager, channels-last tensors",
    ),
    "eager-tuned": CandidateEntry(
        module="torch_candidates",
        factory="open_tuned",
        summary="PyTorch eager, channels-last, freed memory kept, cuDNN tuned",
        environment={"THP_MEM_ALLOC_ENABLE": "1"},
    ),
    "eager-autocast": CandidateEntry(
        module="torch_candidates",
        factory="open_autocast",
        summary="PyTorch eager, channels-last, autocast to FP16",
        precision="fp16",
        gpu=True,
    ),
    "eager-fp16": CandidateEntry(
        module="torch_candidates",
        factory="open_fp16",
        summary="PyTorch eager, channels-last, FP16 weights",
        precision="fp16",
        gpu=True,
    ),
    "compile": CandidateEntry(
        module="torch_candidates",
        factory="open_compiled",
        summary="torch.compile, default mode",
    ),
    "plain-onnx": CandidateEntry(
        module="graph_candidates",
        factory="open_onnxruntime",
        summary="torch.onnx.export as it comes, on ONNX Runtime, pixels in OpenCV",
        extra="",
        package="onnxruntime",
        artefact="plain",
        backends=True,
        backend_module=_ONNXRUNTIME,
    ),
    "openvino": CandidateEntry(
        module="graph_candidates",
        factory="open_openvino",
        summary="torch.onnx.export as it comes, on OpenVINO, pixels in OpenCV",
        extra="openvino",
        package="openvino",
        artefact="plain",
    ),
    "bundle-fp32": CandidateEntry(
        module="bundle_candidate",
        factory="open_bundle",
        summary="our FP32 bundle",
        extra="",
        package="",
        artefact="fp32",
        backends=True,
    ),
    "bundle-fp32-onnxruntime": CandidateEntry(
        module="bundle_candidate",
        factory="open_bundle",
        summary="our FP32 bundle, --target onnxruntime",
        extra="",
        package="",
        artefact="fp32-onnxruntime",
        backends=True,
        backend_module=_ONNXRUNTIME,
    ),
    "bundle-fp16": CandidateEntry(
        module="bundle_candidate",
        factory="open_bundle",
        summary="our FP16 bundle",
        extra="",
        package="",
        precision="fp16",
        artefact="fp16",
        backends=True,
    ),
    "bundle-int8": CandidateEntry(
        module="bundle_candidate",
        factory="open_bundle",
        summary="our INT8 bundle, the rest in FP16",
        extra="",
        package="",
        precision="int8",
        artefact="int8",
        backends=True,
    ),
    "bundle-int8-onnxruntime": CandidateEntry(
        module="bundle_candidate",
        factory="open_bundle",
        summary="our INT8 bundle, --target onnxruntime: the rest in FP32",
        extra="",
        package="",
        precision="int8",
        artefact="int8-onnxruntime",
        backends=True,
        backend_module=_ONNXRUNTIME,
    ),
    "bundle": CandidateEntry(
        module="bundle_candidate",
        factory="open_bundle",
        summary="a bundle given with --bundle",
        extra="",
        package="",
        precision="",
        backends=True,
    ),
}
GIVEN = "bundle"  # the row of --bundle, once for each


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSpec:
    """One row of one case, in plain data that crosses to its process.

    Attributes:
        key: Name in the table: that in `CANDIDATES`, then the backend or the bundle's
            name.
        candidate: Name in `CANDIDATES`.
        model: The network.
        size: Of the frames.
        threads: Processor threads, at least 1.
        precision: Of the arithmetic.
        weights: Checkpoint; None takes what ships.
        random_weights: Untrained weights.
        file: The exported graph or the bundle; None for PyTorch.
        backend: What runs the bundle; empty where the row says it.
        own: How to feed a network of the user's own.
    """

    key: str
    candidate: str
    model: str
    size: Size
    threads: int
    precision: str = "fp32"
    weights: Path | None = None
    random_weights: bool = False
    file: Path | None = None
    backend: str = ""
    own: OwnNetwork = field(default_factory=OwnNetwork)

    @property
    def entry(self) -> CandidateEntry:
        """What kind of candidate it is."""
        return CANDIDATES[self.candidate]

    @property
    def device(self) -> Literal["cpu", "gpu"]:
        """What it runs on."""
        if self.entry.is_pytorch:
            return "gpu" if has_cuda_device() else "cpu"
        return BACKENDS[self.backend].device if self.backend else "cpu"


def open_candidate(spec: CandidateSpec) -> Candidate:
    """Load what `spec` says, ready to derain.

    Raises:
        MissingDependencyError: Its library is not installed.
        DerainError: It cannot run here.
    """
    entry = spec.entry
    factory = load(
        f"derain.benchmarks.latency.{entry.module}", entry.factory, entry.extra
    )
    return cast("Candidate", factory(spec))


def artefacts(entries: Iterable[str]) -> list[Artefact]:
    """What must be exported for the rows called `entries`, in the table's order."""
    found = dict.fromkeys(CANDIDATES[name].artefact for name in entries)
    return [artefact for artefact in found if artefact]
