"""A whole run: plan, export, measure, record."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from derain.benchmarks.analysis.limits import (
    Ceiling,
    Counts,
    Limits,
    describe_counts,
    higher_ceilings,
    judge,
    measure_ceilings,
    rooflines_ms,
)
from derain.benchmarks.latency.candidates import (
    GIVEN,
    REFERENCE,
    ROWS,
    RowSpec,
    artefacts,
)
from derain.benchmarks.latency.case import Entrant, Tell, Tools, measure, to_rows
from derain.benchmarks.latency.conditions import compare_snapshots, take_snapshot
from derain.benchmarks.latency.machine import commit, describe_machine
from derain.benchmarks.latency.nvml import Gpu
from derain.benchmarks.latency.plan import (
    Plan,
    PlannedCase,
    missing_artefact,
    plan_cases,
    row_specs,
    usable_backends,
    usable_rows,
    weights_name,
)
from derain.benchmarks.latency.power import find_meter
from derain.benchmarks.latency.prepare import Prepared, prepare
from derain.benchmarks.quality.truth import read_pairs
from derain.benchmarks.report.record import SCHEMA, Case, Record
from derain.core.bundle import Bundle
from derain.core.errors import BenchmarkError, RowError
from derain.export.frames import verification_frames

_FRAMES = 2
_FRAMES_NAME = "photographs with rendered rain"
_ENGINES = ("tensorrt", "tensorrt-rtx")  # backends that want derain-compile first


def run(plan: Plan, command: Sequence[str], tell: Tell) -> Record:
    """Measure what `plan` says.

    Args:
        plan: The cases, rows and pace.
        command: As it was given, for the record.
        tell: Told what is being done.

    Raises:
        DerainError: Nothing can be measured. What goes wrong in one row is in the row.
    """
    cases = plan_cases(plan)
    plan.work.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(plan.pairs, plan.most_pairs) if plan.pairs else []
    gpu = Gpu.find()
    machine = describe_machine(gpu)
    meter = find_meter(gpu=gpu)
    created = datetime.datetime.now(datetime.timezone.utc)
    tell("measuring a copy and a matrix product")
    ceilings = measure_ceilings(plan.threads)
    before = take_snapshot(gpu)
    try:
        tools = Tools(
            pace=plan.pace,
            own_process=plan.processes == "each",
            meter=meter,
            gpu=gpu,
            pairs=pairs,
            logs=plan.work,
            tell=tell,
        )
        measured = [_measure_case(case, plan, tools) for case in cases]
        tell("measuring the copy and the matrix product again")
        ceilings = higher_ceilings(ceilings, measure_ceilings(plan.threads))
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
        threads=plan.threads,
        processes=plan.processes,
        pace={name: float(value) for name, value in asdict(plan.pace).items()},
        energy_meter=meter.description if meter else None,
        ceilings=ceilings,
        cases=[conclude(ceilings) for conclude in measured],
    )


def _measure_case(
    case: PlannedCase, plan: Plan, tools: Tools
) -> Callable[[Sequence[Ceiling]], Case]:
    """Measure `case`; what is returned makes its table when the ceilings are known."""
    network = case.network

    def tell(text: str) -> None:
        tools.tell(f"{network.model} {network.size}: {text}")

    rows, left_out = usable_rows(plan.rows if case.exports else [], network)
    backends, absent = usable_backends(plan)
    left_out |= {f"backend {name}": reason for name, reason in absent.items()}
    if plan.processes == "one":
        for name in [name for name in rows if ROWS[name].environment]:
            rows.remove(name)
            left_out[name] = "needs a process of its own"
    specs = row_specs(case, rows, backends, plan)
    prepared = Prepared()
    for artefact in artefacts(spec.entry for spec in specs):
        if artefact == "fp32-onnxruntime" and not _has_operators(prepared):
            continue
        tell(f"exporting {artefact}")
        prepare(network, artefact, plan.work, prepared)
    entrants = []
    for spec in specs:
        if spec.row.artefact == "fp32-onnxruntime" and not _has_operators(prepared):
            left_out[spec.key] = "the same graph as bundle-fp32"
            continue
        entrants.append(_entrant(spec, prepared, tell))
    frames = verification_frames(network.size, _FRAMES)
    reference = measure(entrants, frames, replace(tools, tell=tell))

    def conclude(ceilings: Sequence[Ceiling]) -> Case:
        limits = _limits(prepared, entrants, ceilings)
        gpu_torch = REFERENCE in rows and tools.gpu is not None
        return Case(
            model=network.model,
            size=str(network.size),
            weights=weights_name(network) if case.exports else "of the bundle",
            parameters=prepared.parameters,
            frames=_FRAMES_NAME,
            quality_reference=reference,
            export_s=prepared.seconds,
            left_out=left_out,
            rows=to_rows(entrants, limits, gpu_torch),
            limits=limits,
        )

    return conclude


def _entrant(spec: RowSpec, prepared: Prepared, tell: Tell) -> Entrant:
    artefact = spec.row.artefact
    if reason := missing_artefact(spec, prepared):
        return Entrant(spec, error=RowError(reason))
    if artefact:
        spec = replace(spec, file=prepared.files[artefact])
    entrant = Entrant(spec)
    ours = spec.entry != GIVEN  # a bundle made elsewhere stays as it is
    if ours and spec.backend in _ENGINES and spec.file is not None:
        tell(f"compiling for {spec.backend}")
        entrant.error = _compile(spec.file, spec.backend)
    return entrant


def _compile(bundle: Path, backend: str) -> RowError | None:
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
    return RowError(f"derain-compile: {last.removeprefix('Error: ')}")


def _has_operators(prepared: Prepared) -> bool:
    """Whether the FP32 bundle has operators whose bodies depend on the target."""
    bundle = prepared.files.get("fp32")
    return bundle is not None and bool(Bundle.open(bundle).manifest.operators)


def _limits(
    prepared: Prepared, entrants: Sequence[Entrant], ceilings: Sequence[Ceiling]
) -> Limits | None:
    """Counts of the plain graph and of a bundle's, where there is onnx to read them."""
    if find_spec("onnx") is None:
        return None
    from derain.benchmarks.analysis.graph_counts import count_graph

    files: list[tuple[Literal["plain", "bundle"], Path]] = []
    if "plain" in prepared.files:
        files.append(("plain", prepared.files["plain"]))
    bundles = [prepared.files.get("fp32")]
    bundles += [entrant.spec.file for entrant in entrants]
    for bundle in bundles:
        if bundle is not None and bundle.is_dir():
            files.append(("bundle", bundle / "model.onnx"))
            break
    described: list[Counts] = []
    graphs = []
    for name, file in files:
        with suppress(BenchmarkError):  # a graph for a range of sizes has no count
            counts = count_graph(file)
            graphs.append(counts)
            described.append(describe_counts(counts, name))
    if not graphs:
        return None
    return Limits(
        counts=described,
        roofline_ms=rooflines_ms(graphs, ceilings),
        verdicts=judge(described[0], graphs[0].pixels),
    )
