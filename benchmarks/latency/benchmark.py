"""`benchmark`: plan, export, measure, record."""

from __future__ import annotations

import datetime
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from derain.benchmarks.analysis.limits import (
    GraphCost,
    NetworkLimits,
    describe_counts,
    jetson_verdicts,
)
from derain.benchmarks.analysis.roofline import (
    RooflinePeak,
    higher_peaks,
    measure_peaks,
    rooflines_ms,
)
from derain.benchmarks.latency.candidates import (
    CANDIDATES,
    GIVEN,
    CandidateSpec,
    artefacts,
)
from derain.benchmarks.latency.case import (
    Measurement,
    Tools,
    measure_candidates,
    to_results,
)
from derain.benchmarks.latency.conditions import compare_snapshots, take_snapshot
from derain.benchmarks.latency.machine import commit, describe_machine, usable_cores
from derain.benchmarks.latency.nvml import Gpu
from derain.benchmarks.latency.options import (
    BenchmarkKeywords,
    BenchmarkOptions,
    options_of,
)
from derain.benchmarks.latency.plan import (
    SEVERAL,
    PlannedCase,
    Target,
    candidate_specs,
    missing_artefact,
    plan_cases,
    resolve_targets,
    usable_backends,
    usable_candidates,
    weights_name,
)
from derain.benchmarks.latency.power import find_meter
from derain.benchmarks.latency.prepare import Prepared, prepare
from derain.benchmarks.latency.rounds import Pace
from derain.benchmarks.quality.truth import read_pairs
from derain.benchmarks.report.record import SCHEMA, Case, Record
from derain.core.bundle import Bundle
from derain.core.errors import BenchmarkError, CandidateError, ConfigError
from derain.core.scratch import ScratchFolder
from derain.export.frames import verification_frames
from derain.runtime.backends import BACKENDS
from derain.runtime.cuda.probe import has_cuda_device

if TYPE_CHECKING:
    from typing_extensions import Unpack

_log = logging.getLogger(__name__)
_FRAMES = 2
_FRAMES_NAME = "photographs with rendered rain"


def benchmark(*targets: Target, **options: Unpack[BenchmarkKeywords]) -> Record:
    """Measure how fast networks and bundles are, how good, and what is left.

    Every network is measured in PyTorch, as a plain ONNX export and as our bundles, as
    far as this machine can; rows take turns, each in a process of its own. That takes
    minutes: ``quick=True`` gives a first answer.

    Args:
        targets: Names of networks (``derain.models()``), ``"package.module:Class"``,
            bundles or their folders; ``"all"`` is every network.
        options: See `BenchmarkKeywords`; sizes are ``"640x360"``, ``(640, 360)``, or a
            list of such.

    Returns:
        All that was measured; ``print`` shows what ``derain-bench`` does.

    Raises:
        UnknownNameError: A target is neither a network nor a bundle.
        BundleError: A bundle cannot be opened.
        ConfigError: Options exclude each other.
        BenchmarkError: Nothing can be measured. What goes wrong in one row is in the
            row.

    Example:
        >>> import derain
        >>> record = derain.benchmark("qsnet", size="640x360", quick=True)
        >>> record.cases[0].rows[0].key  # print(record) shows all of them
        'eager'
    """
    return measure(targets, options_of(options), ["derain.benchmark"])


def measure(
    targets: Sequence[Target], options: BenchmarkOptions, command: Sequence[str]
) -> Record:
    """Measure `targets`, as `benchmark` does.

    Args:
        targets: See `benchmark`.
        options: How.
        command: What was asked for, for the record.

    Raises:
        ConfigError: Options exclude each other.
        DerainError: Nothing can be measured.
    """
    models, bundles = resolve_targets(targets)
    if not models and not bundles:
        raise BenchmarkError("nothing to measure; give --model or --bundle")
    if conflict := options.conflict(len(models)):
        raise ConfigError(conflict)
    options = replace(options.resolved(), threads=options.threads or usable_cores())
    with ExitStack() as stack:
        work = options.work
        if work is None:
            folder = ScratchFolder(prefix="derain-bench-")
            work = Path(stack.enter_context(folder))
        work.mkdir(parents=True, exist_ok=True)
        return _measure(plan_cases(models, bundles, options), options, work, command)


def _measure(
    cases: Sequence[PlannedCase],
    options: BenchmarkOptions,
    work: Path,
    command: Sequence[str],
) -> Record:
    pairs = read_pairs(options.pairs, options.most_pairs) if options.pairs else []
    gpu = Gpu.find()
    if gpu is None and has_cuda_device() and find_spec("pynvml") is None:
        _log.warning(
            "the GPU's name, clocks and energy are not recorded: nvidia-ml-py is not "
            "installed; run: pip install 'derain[bench]'"
        )
    machine = describe_machine(gpu)
    meter = find_meter(gpu=gpu)
    created = datetime.datetime.now(datetime.timezone.utc)
    _log.info("measuring a copy and a matrix product")
    peaks = measure_peaks(options.threads)
    before = take_snapshot(gpu)
    pace = Pace(
        duration_s=options.duration,
        min_rounds=options.min_rounds,
        warm_up_s=options.warm_up,
    )
    tools = Tools(
        pace=pace,
        own_process=not options.one_process,
        meter=meter,
        gpu=gpu,
        pairs=pairs,
        logs=work,
    )
    try:
        measured = [_measure_case(case, options, tools) for case in cases]
        if not options.quick:
            _log.info("measuring the copy and the matrix product again")
            peaks = higher_peaks(peaks, measure_peaks(options.threads))
    finally:
        if meter:
            meter.close()
    return Record(
        schema=SCHEMA,
        created=created.isoformat(timespec="seconds"),
        command=list(command),
        commit=commit(),
        machine=machine,
        conditions=compare_snapshots(
            before, take_snapshot(gpu), os.cpu_count() or machine.cores
        ),
        threads=options.threads,
        processes="one" if options.one_process else "each",
        pace={name: float(value) for name, value in asdict(pace).items()},
        energy_meter=meter.description if meter else None,
        ceilings=peaks,
        cases=[conclude(peaks) for conclude in measured],
        quick=options.quick,
    )


def _measure_case(
    case: PlannedCase, options: BenchmarkOptions, tools: Tools
) -> Callable[[Sequence[RooflinePeak]], Case]:
    """Measure `case`; what is returned makes its table when the peaks are known."""
    network = case.network
    rows, left_out = usable_candidates(options.rows if case.exports else [], network)
    backends, absent = usable_backends(options)
    left_out |= {f"backend {name}": reason for name, reason in absent.items()}
    if options.one_process:
        for name in [name for name in rows if CANDIDATES[name].environment]:
            rows.remove(name)
            left_out[name] = "needs a process of its own"
    specs = candidate_specs(case, rows, backends, options)
    prepared = Prepared()
    for artefact in artefacts(spec.candidate for spec in specs):
        if artefact == "fp32-onnxruntime" and not _has_operators(prepared):
            continue
        _log.info("%s %s: exporting %s", network.model, network.size, artefact)
        prepare(network, artefact, tools.logs, prepared)
    measurements = []
    for spec in specs:
        if spec.entry.artefact == "fp32-onnxruntime" and not _has_operators(prepared):
            left_out[spec.key] = "the same graph as bundle-fp32"
            continue
        measurements.append(_start(spec, prepared))
    frames = verification_frames(network.size, _FRAMES)
    reference = measure_candidates(measurements, frames, tools)

    def conclude(peaks: Sequence[RooflinePeak]) -> Case:
        limits = None
        if network.model != SEVERAL:
            limits = _limits(prepared, measurements, peaks)
        return Case(
            model=network.model,
            size=str(network.size),
            weights=weights_name(network) if case.exports else "of the bundle",
            parameters=prepared.parameters,
            frames=_FRAMES_NAME,
            quality_reference=reference,
            export_s=prepared.seconds,
            left_out=left_out,
            rows=to_results(measurements, limits),
            limits=limits,
        )

    return conclude


def _start(spec: CandidateSpec, prepared: Prepared) -> Measurement:
    """The measurement of `spec`, its file exported and compiled, or its error."""
    artefact = spec.entry.artefact
    if reason := missing_artefact(spec, prepared):
        return Measurement(spec, error=CandidateError(reason))
    if artefact:
        spec = replace(spec, file=prepared.files[artefact])
    measurement = Measurement(spec)
    ours = spec.candidate != GIVEN  # a bundle made elsewhere stays as it is
    compiled = spec.backend and BACKENDS[spec.backend].compiled
    if ours and compiled and spec.file is not None:
        _log.info("%s %s: compiling for %s", spec.model, spec.size, spec.backend)
        measurement.error = _compile(spec.file, spec.backend)
    return measurement


def _compile(bundle: Path, backend: str) -> CandidateError | None:
    """Build the engine of `bundle`; the error where that fails."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "derain.runtime.tensorrt.compile_cli", str(bundle)),
            *("--backend", backend),
        ],
        capture_output=True,
        text=True,
    )
    if not done.returncode:
        return None
    last = next(iter(done.stderr.strip().splitlines()[-1:]), "no reason given")
    return CandidateError(f"derain-compile: {last.removeprefix('Error: ')}")


def _has_operators(prepared: Prepared) -> bool:
    """Whether the FP32 bundle has operators whose bodies depend on the target."""
    bundle = prepared.files.get("fp32")
    return bundle is not None and bool(Bundle.open(bundle).manifest.operators)


def _limits(
    prepared: Prepared,
    measurements: Sequence[Measurement],
    peaks: Sequence[RooflinePeak],
) -> NetworkLimits | None:
    """Costs of the plain graph and of a bundle's, where there is onnx to read them."""
    if find_spec("onnx") is None:
        return None
    from derain.benchmarks.analysis.graph_counts import count_graph

    files: list[tuple[Literal["plain", "bundle"], Path]] = []
    if "plain" in prepared.files:
        files.append(("plain", prepared.files["plain"]))
    bundles = [prepared.files.get("fp32")]
    bundles += [measurement.spec.file for measurement in measurements]
    for bundle in bundles:
        if bundle is not None and bundle.is_dir():
            files.append(("bundle", bundle / "model.onnx"))
            break
    described: list[GraphCost] = []
    graphs = []
    for name, file in files:
        with suppress(BenchmarkError):  # a graph for a range of sizes has no count
            counts = count_graph(file)
            graphs.append(counts)
            described.append(describe_counts(counts, name))
    if not graphs:
        return None
    return NetworkLimits(
        counts=described,
        roofline_ms=rooflines_ms(graphs, peaks),
        verdicts=jetson_verdicts(described[0], graphs[0].pixels),
    )
