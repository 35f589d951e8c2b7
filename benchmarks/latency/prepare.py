"""Export what the rows need, each in a process of its own, or take what is there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derain.benchmarks.latency.candidates import Artefact
from derain.benchmarks.own_network import OwnNetwork
from derain.core.atomic_files import write_text
from derain.core.sizes import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """Which network, with which weights, at which size.

    Attributes:
        model: Name in the registry, or ``package.module:Class``.
        size: Of the frames.
        weights: Checkpoint; None takes what ships.
        random_weights: Untrained weights.
        calibration: File of ``derain-calibrate``, for INT8; or
        calibrate_on: frames to calibrate on. Without both there is no INT8.
        own: How to feed a network of the user's own.
    """

    model: str
    size: Size
    weights: Path | None = None
    random_weights: bool = False
    calibration: Path | None = None
    calibrate_on: str = ""
    own: OwnNetwork = field(default_factory=OwnNetwork)

    @property
    def name(self) -> str:
        """A file name for it."""
        return f"{self.model.rpartition(':')[2].lower()}-{self.size}"


@dataclass(slots=True)
class Prepared:
    """What was exported.

    Attributes:
        files: The bundle's folder or the plain graph's file.
        errors: Why an artefact is missing.
        seconds: How long each export took; without those that were there.
        parameters: Of the network; None where it was not asked.
    """

    files: dict[Artefact, Path] = field(default_factory=dict)
    errors: dict[Artefact, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    parameters: int | None = None


def prepare(
    network: NetworkSpec, artefact: Artefact, folder: Path, into: Prepared
) -> None:
    """Export `artefact` of `network` below `folder`, unless it is there.

    A failure is noted in `into`, and only the rows that need it are lost.
    """
    path = folder / f"{network.name}-{artefact}"
    if artefact == "plain":
        path = path.with_name(path.name + ".onnx")
    facts_path = folder / f"{network.name}-{artefact}.json"
    request = _request(network, artefact)
    facts = _facts(facts_path)
    if not (path.exists() and facts.get("request") == request):
        facts_path.unlink(missing_ok=True)
        started = time.perf_counter()
        done = subprocess.run(
            _command(network, artefact, path), capture_output=True, text=True
        )
        if done.returncode:
            into.errors[artefact] = _reason(done)
            return
        into.seconds[artefact] = round(time.perf_counter() - started, 2)
        facts = {"request": request}
        if artefact == "plain":
            facts |= json.loads(done.stdout.splitlines()[-1])
        write_text(facts_path, json.dumps(facts, indent=2) + "\n")
    into.files[artefact] = path
    if "parameters" in facts:
        into.parameters = int(facts["parameters"])


def model_bytes(path: Path) -> int:
    """Length of the ONNX file at `path`, or in the bundle at `path`."""
    return (path / "model.onnx" if path.is_dir() else path).stat().st_size


def _command(network: NetworkSpec, artefact: Artefact, path: Path) -> list[str]:
    if artefact == "plain":
        command = [sys.executable, "-m", "derain.benchmarks.latency.plain_export"]
    else:
        precision, _, target = artefact.partition("-")
        command = [sys.executable, "-m", "derain.export.cli", f"--{precision}"]
        command += ["--quiet", "--force", "--target", target or "any"]
        if precision == "int8" and network.calibration is not None:
            command += ["--calibration", str(network.calibration)]
        elif precision == "int8":
            command += ["--calibrate-on", network.calibrate_on]
    command += ["--model", network.model, "--size", str(network.size)]
    if network.weights is not None:
        command += ["--weights", str(network.weights)]
    if network.random_weights:
        command += ["--random-weights"]
    return [*command, *network.own.arguments(), "--output", str(path)]


def _request(network: NetworkSpec, artefact: Artefact) -> dict[str, Any]:
    """All that the artefact depends on, but for the versions of the tools."""
    weights = network.weights
    calibration: Any = ""
    if artefact.startswith("int8"):
        file = network.calibration
        calibration = _stats(network.calibrate_on) if file is None else _digest(file)
    return {
        "artefact": artefact,
        "model": network.model,
        "size": str(network.size),
        "random_weights": network.random_weights,
        "weights": "" if weights is None else _digest(weights),
        "calibration": calibration,
        "own": network.own.arguments(),
    }


def _stats(source: str) -> list[Any]:
    """What tells whether a source is as it was: names, lengths, dates."""
    path = Path(source)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(f.name, f.stat()) for f in files if f.is_file()]
    except OSError:  # for the exporter to report, in its own words
        return [source]
    return [source, *([name, x.st_size, x.st_mtime_ns] for name, x in stats)]


def _digest(path: Path) -> str:
    # A missing checkpoint is for the exporter to report, in its own words.
    content = path.read_bytes() if path.is_file() else b""
    return hashlib.sha256(content).hexdigest()


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or half written: exported again
        return {}
    return facts


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return f"the export was killed by signal {-done.returncode}"
    last = lines[-1] if lines else f"exit status {done.returncode}"
    return last.removeprefix("Error: ")
