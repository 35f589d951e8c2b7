"""What a run measures: cases, and the rows of each that this machine can have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from derain.benchmarks.latency.candidates import (
    CANDIDATES,
    GIVEN,
    CandidateEntry,
    CandidateSpec,
)
from derain.benchmarks.latency.options import BenchmarkOptions
from derain.benchmarks.latency.prepare import NetworkSpec, Prepared
from derain.benchmarks.own_network import OwnNetwork
from derain.core.bundle import Bundle
from derain.core.errors import (
    BenchmarkError,
    EngineError,
    MissingDependencyError,
    UnknownNameError,
)
from derain.models.registry import MODELS
from derain.runtime.backends import BACKENDS, check_backend
from derain.runtime.cuda.probe import has_cuda_device

_ALL = "all"
SEVERAL = "several networks"  # what a case of bundles that belong together is called

# A network's name or ``package.module:Class``, a bundle or its folder, or ``all``.
Target: TypeAlias = str | Path | Bundle


@dataclass(slots=True)
class PlannedCase:
    """One table to be.

    Attributes:
        network: The network and the size.
        bundles: Bundles made elsewhere that belong to it.
        exports: Whether anything is exported, or PyTorch asked: not where bundles
            alone were given.
    """

    network: NetworkSpec
    bundles: list[Bundle] = field(default_factory=list)
    exports: bool = True


def resolve_targets(targets: Sequence[Target]) -> tuple[list[str], list[Bundle]]:
    """The networks and the bundles among `targets`.

    Raises:
        UnknownNameError: One is neither.
        BenchmarkError: One is a live network.
        BundleError: A bundle cannot be opened.
    """
    models: list[str] = []
    bundles = []
    for target in targets:
        if isinstance(target, Bundle):
            bundles.append(target)
        elif not isinstance(target, (str, Path)):
            raise BenchmarkError(
                f"a live {type(target).__name__} cannot go to a process of its own; "
                "give package.module:Class, or the bundle of derain.export"
            )
        elif target == _ALL:
            models += MODELS
        elif isinstance(target, str) and (target in MODELS or ":" in target):
            models.append(target)
        elif isinstance(target, Path) or Path(target).exists():
            bundles.append(Bundle.open(Path(target)))
        else:
            raise UnknownNameError("model", target, MODELS)
    return list(dict.fromkeys(models)), bundles


def plan_cases(
    models: Sequence[str], bundles: Sequence[Bundle], options: BenchmarkOptions
) -> list[PlannedCase]:
    """A case for every model at every size, and the bundles in theirs.

    Args:
        models: Names in the registry, or ``package.module:Class``.
        bundles: Bundles made elsewhere.
        options: How to measure.

    Raises:
        ConfigError: Options are for a network of the user's own, and there is none.
    """
    own = OwnNetwork.of(options, own=any(":" in model for model in models))
    cases = [
        PlannedCase(
            NetworkSpec(
                model=model,
                size=size,
                weights=options.weights,
                random_weights=options.random_weights
                or not _has_weights(model, options),
                calibration=options.calibration,
                calibrate_on=options.calibrate_on,
                own=own if ":" in model else OwnNetwork(),
            )
        )
        for model in models
        for size in options.size
    ]
    joint: list[PlannedCase] = []  # those of several networks
    for bundle in bundles:
        manifest = bundle.manifest
        at_home = [
            case
            for case in cases
            if case.network.model == manifest.model
            and case.network.size in manifest.sizes
        ]
        if not at_home:
            size = manifest.sizes.optimum
            at_home = [each for each in joint if each.network.size == size]
        if not at_home:
            model = SEVERAL if options.together else manifest.model
            at_home = [PlannedCase(NetworkSpec(model=model, size=size), exports=False)]
            cases += at_home
            joint += at_home if options.together else []
        for case in at_home:
            case.bundles.append(bundle)
    return cases


def weights_name(network: NetworkSpec) -> str:
    """``shipped``, ``random``, ``as constructed`` or the checkpoint's name."""
    if network.weights is not None:
        return network.weights.name
    if ":" in network.model:
        return "as constructed"
    return "random" if network.random_weights else "shipped"


def usable_backends(options: BenchmarkOptions) -> tuple[list[str], dict[str, str]]:
    """The backends to measure, and why others are not."""
    if options.backends:
        return list(options.backends), {}
    here = [name for name, entry in BACKENDS.items() if not entry.address]
    others = {}
    for name in here:
        try:
            check_backend(name)
        except (EngineError, MissingDependencyError) as error:
            others[name] = str(error)
    return [name for name in here if name not in others], others


def usable_candidates(
    names: Iterable[str], network: NetworkSpec
) -> tuple[list[str], dict[str, str]]:
    """The rows that this machine can have, and why it cannot have the others."""
    calibrated = network.calibration is not None or bool(network.calibrate_on)
    usable, left_out = [], {}
    for name in names:
        reason = _obstacle(CANDIDATES[name])
        if CANDIDATES[name].precision == "int8" and not calibrated:
            reason = reason or "needs --calibrate-on or --calibration"
        if reason:
            left_out[name] = reason
        else:
            usable.append(name)
    return usable, left_out


def candidate_specs(
    case: PlannedCase,
    rows: Sequence[str],
    backends: Sequence[str],
    options: BenchmarkOptions,
) -> list[CandidateSpec]:
    """The rows of `case`; the files of what is exported are still to be filled in."""
    specs = []
    for name in rows if case.exports else ():
        entry = CANDIDATES[name]
        if name == GIVEN:
            continue
        wanted = [b for b in backends if entry.runs_on(b)] if entry.backends else [""]
        specs += [_spec(name, name, b, entry.precision, case, options) for b in wanted]
    names = [bundle.folder.name for bundle in case.bundles]
    for bundle, name in zip(case.bundles, names, strict=True):
        # Two of one name are told apart by where they are.
        title = name if names.count(name) == 1 else str(bundle.folder)
        for backend in backends:
            key, precision = f"{GIVEN} {title}", bundle.manifest.precision
            folder = bundle.folder
            specs.append(_spec(key, GIVEN, backend, precision, case, options, folder))
    return specs


def missing_artefact(spec: CandidateSpec, prepared: Prepared) -> str | None:
    """Why the file that `spec` needs is not there; None where it is or needs none."""
    artefact = spec.entry.artefact
    if not artefact or artefact in prepared.files:
        return None
    return prepared.errors.get(artefact, f"{artefact} was not exported")


def _obstacle(entry: CandidateEntry) -> str | None:
    if entry.package and find_spec(entry.package) is None:
        return f"{entry.package} is not installed"
    if entry.artefact and find_spec("torch") is None:
        return "exporting needs torch, which is not installed"
    if entry.gpu and not has_cuda_device():
        return "no NVIDIA GPU"
    return None


def _has_weights(model: str, options: BenchmarkOptions) -> bool:
    if options.weights is not None:
        return True
    if ":" in model:  # as constructed, but alike in every process: seeded
        return False
    shipped = resources.files("derain.models.weights") / f"{model}.safetensors"
    return shipped.is_file()


def _spec(
    key: str,
    candidate: str,
    backend: str,
    precision: str,
    case: PlannedCase,
    options: BenchmarkOptions,
    file: Path | None = None,
) -> CandidateSpec:
    return CandidateSpec(
        key=f"{key}/{backend}" if backend else key,
        candidate=candidate,
        model=case.network.model,
        size=case.network.size,
        threads=options.threads,
        precision=precision,
        weights=case.network.weights,
        random_weights=case.network.random_weights,
        file=file,
        backend=backend,
        own=case.network.own,
    )
