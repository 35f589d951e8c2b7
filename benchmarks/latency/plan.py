"""What a run measures: cases, and the rows of each that this machine can have."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from derain.benchmarks.latency.candidates import GIVEN, ROWS, RowEntry, RowSpec
from derain.benchmarks.latency.prepare import Network, Prepared
from derain.benchmarks.latency.rounds import Pace
from derain.core.bundle import Bundle
from derain.core.errors import BenchmarkError
from derain.core.sizes import Size
from derain.runtime.backends import BACKENDS

# Runs on any processor; but for OpenVINO, the other backends want an NVIDIA GPU.
CPU_BACKEND = "onnxruntime"
_OPENVINO = "openvino"
# What runs a plain export, and what is written for ONNX Runtime's own kernels.
_ONNXRUNTIME = ("onnxruntime", "onnxruntime-cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for.

    Attributes:
        models: Names in the registry, or ``package.module:Class``.
        sizes: Of the frames.
        rows: Names in `derain.benchmarks.latency.candidates.ROWS`.
        backends: What runs bundles and plain graphs; empty for all that are there.
        bundles: Bundles made elsewhere.
        threads: Processor threads of every row.
        weights: Checkpoint for the one model.
        random_weights: Untrained weights.
        calibration: File of ``derain-calibrate`` for the one model, for INT8; or
        calibrate_on: frames to calibrate on. Without both there are no INT8 rows.
        pairs: Folder of rainy and clean pictures.
        most_pairs: Take no more of them.
        pace: How long to measure.
        work: Where what is exported goes, and is found again.
        processes: ``each``: a process for each row; ``one``: this one for all.
    """

    models: Sequence[str]
    sizes: Sequence[Size]
    rows: Sequence[str]
    backends: Sequence[str]
    bundles: Sequence[Path]
    threads: int
    weights: Path | None
    random_weights: bool
    calibration: Path | None
    calibrate_on: str
    pairs: Path | None
    most_pairs: int
    pace: Pace
    work: Path
    processes: Literal["each", "one"]


@dataclass(slots=True)
class PlannedCase:
    """One table to be.

    Attributes:
        network: The network and the size.
        bundles: Bundles made elsewhere that belong to it.
        exports: Whether anything is exported, or PyTorch asked: not where bundles
            alone were given.
    """

    network: Network
    bundles: list[Bundle] = field(default_factory=list)
    exports: bool = True


def plan_cases(plan: Plan) -> list[PlannedCase]:
    """The cases of `plan`: every model at every size, and the bundles.

    Raises:
        BundleError: A bundle cannot be opened.
    """
    cases = [
        PlannedCase(
            Network(
                model=model,
                size=size,
                weights=plan.weights,
                random_weights=plan.random_weights or not _has_weights(model, plan),
                calibration=plan.calibration,
                calibrate_on=plan.calibrate_on,
            )
        )
        for model in plan.models
        for size in plan.sizes
    ]
    for folder in plan.bundles:
        bundle = Bundle.open(folder)
        manifest = bundle.manifest
        at_home = [
            case
            for case in cases
            if case.network.model == manifest.model
            and case.network.size in manifest.sizes
        ]
        if not at_home:
            network = Network(model=manifest.model, size=manifest.sizes.optimum)
            at_home = [PlannedCase(network, exports=False)]
            cases += at_home
        for case in at_home:
            case.bundles.append(bundle)
    if not cases:
        raise BenchmarkError("nothing to measure; give --model or --bundle")
    return cases


def weights_name(network: Network) -> str:
    """``shipped``, ``random``, ``as constructed`` or the checkpoint's name."""
    if network.weights is not None:
        return network.weights.name
    if ":" in network.model:
        return "as constructed"
    return "random" if network.random_weights else "shipped"


def usable_backends(plan: Plan) -> tuple[list[str], dict[str, str]]:
    """The backends to measure, and why others are not."""
    if plan.backends:
        return list(plan.backends), {}
    others = {}
    if not has_cuda_device():
        on_processors = (CPU_BACKEND, _OPENVINO)
        others = {x: "no NVIDIA GPU" for x in BACKENDS if x not in on_processors}
    if find_spec(_OPENVINO) is None:
        others[_OPENVINO] = f"{_OPENVINO} is not installed"
    return [x for x in BACKENDS if x not in others], others


def usable_rows(
    names: Iterable[str], network: Network
) -> tuple[list[str], dict[str, str]]:
    """The rows that this machine can have, and why it cannot have the others."""
    calibrated = network.calibration is not None or bool(network.calibrate_on)
    usable, left_out = [], {}
    for name in names:
        reason = _obstacle(ROWS[name])
        if ROWS[name].precision == "int8" and not calibrated:
            reason = reason or "needs --calibrate-on or --calibration"
        if reason:
            left_out[name] = reason
        else:
            usable.append(name)
    return usable, left_out


def row_specs(
    case: PlannedCase, rows: Sequence[str], backends: Sequence[str], plan: Plan
) -> list[RowSpec]:
    """The rows of `case`; the files of what is exported are still to be filled in."""
    specs = []
    if case.exports:
        for name in rows:
            entry = ROWS[name]
            if name == GIVEN:
                continue
            wanted = backends if entry.backends else [""]
            if entry.backends and entry.artefact.endswith(("plain", "onnxruntime")):
                wanted = [b for b in backends if b in _ONNXRUNTIME]
            specs += [_spec(name, name, b, entry.precision, case, plan) for b in wanted]
    names = [bundle.folder.name for bundle in case.bundles]
    for bundle, name in zip(case.bundles, names, strict=True):
        # Two of one name are told apart by where they are.
        title = name if names.count(name) == 1 else str(bundle.folder)
        for backend in backends:
            key, precision = f"{GIVEN} {title}", bundle.manifest.precision
            spec = _spec(key, GIVEN, backend, precision, case, plan, bundle.folder)
            specs.append(spec)
    return specs


def missing_artefact(spec: RowSpec, prepared: Prepared) -> str | None:
    """Why the file that `spec` needs is not there; None where it is or needs none."""
    artefact = spec.row.artefact
    if not artefact or artefact in prepared.files:
        return None
    return prepared.errors.get(artefact, f"{artefact} was not exported")


def has_cuda_device() -> bool:
    """Whether the CUDA driver finds a device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return False
    return count.value > 0


def _obstacle(entry: RowEntry) -> str | None:
    if entry.package and find_spec(entry.package) is None:
        return f"{entry.package} is not installed"
    if entry.artefact and find_spec("torch") is None:
        return "exporting needs torch, which is not installed"
    if entry.gpu and not has_cuda_device():
        return "no NVIDIA GPU"
    return None


def _has_weights(model: str, plan: Plan) -> bool:
    if plan.weights is not None:
        return True
    if ":" in model:  # as constructed, but alike in every process: seeded
        return False
    shipped = resources.files("derain.models.weights") / f"{model}.safetensors"
    return shipped.is_file()


def _spec(
    key: str,
    entry: str,
    backend: str,
    precision: str,
    case: PlannedCase,
    plan: Plan,
    file: Path | None = None,
) -> RowSpec:
    return RowSpec(
        key=f"{key}/{backend}" if backend else key,
        entry=entry,
        model=case.network.model,
        size=case.network.size,
        threads=plan.threads,
        precision=precision,
        weights=case.network.weights,
        random_weights=case.network.random_weights,
        file=file,
        backend=backend,
    )
