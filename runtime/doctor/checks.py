"""The checks, in the order they are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derain.core.errors import BundleError
from derain.core.lazy import load
from derain.runtime.doctor.machine import CheckContext, Finding, Host, ThisHost


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: What it looks at.
        module: Module under `derain.runtime.doctor`.
        function: Function in it: takes a `CheckContext`, returns a `Finding`.
        needed: Whether nothing works without what it looks at.
        of_bundle: Whether it looks at a bundle.
        slow: Whether it is left out unless asked for.
    """

    name: str
    module: str
    function: str
    needed: bool = False
    of_bundle: bool = False
    slow: bool = False


CHECKS = (
    Check("Python", "software", "check_python", needed=True),
    Check("derain", "software", "check_derain"),
    Check("packages", "software", "check_packages", needed=True),
    Check("conflicts", "software", "check_conflicts"),
    Check("ONNX Runtime", "software", "check_providers", needed=True),
    Check("backends", "software", "check_backends", needed=True),
    Check("JetPack", "nvidia", "check_jetpack"),
    Check("GPU", "nvidia", "check_gpu"),
    Check("TensorRT", "nvidia", "check_tensorrt"),
    Check("TensorRT-RTX", "nvidia", "check_tensorrt_rtx"),
    Check("fastest backend", "nvidia", "check_fastest_backend"),
    Check("power", "nvidia", "check_power"),
    Check("PyAV", "software", "check_pyav"),
    Check("OpenCV video", "media", "check_opencv"),
    Check("GStreamer", "media", "check_gstreamer"),
    Check("cameras", "media", "check_cameras"),
    Check("decoders", "decoders", "measure_decoders", slow=True),
    Check("memory", "resources", "check_memory"),
    Check("disk", "resources", "check_disk"),
    Check("bundle", "bundle_fit", "check_bundle_size", needed=True, of_bundle=True),
    Check("states", "bundle_fit", "check_bundle_states", of_bundle=True),
    Check("precision", "bundle_fit", "check_bundle_precision", of_bundle=True),
    Check("engines", "bundle_fit", "check_bundle_engines", of_bundle=True),
)


def check_machine(
    folder: Path | None, *, slow: bool = False, machine: Host | None = None
) -> dict[str, Finding]:
    """What the checks find, by name.

    Args:
        folder: A bundle that is to run here, or None.
        slow: Whether to measure, too.
        machine: Another machine than this one, for tests.
    """
    machine = machine or ThisHost()
    if folder is None:
        return run_checks(CheckContext(machine), slow=slow)
    try:
        from derain.core.bundle import Bundle

        bundle = Bundle.open(folder)
    except BundleError as error:
        text, _, fix = str(error).rpartition("; ")
        bad = Finding("missing", text or fix, fix if text else "")
    # NumPy or OpenCV is broken: another check says which.
    except ImportError as error:
        bad = Finding("missing", f"{folder} cannot be checked: {error}")
    else:
        return run_checks(CheckContext(machine, bundle), slow=slow)
    return {**run_checks(CheckContext(machine), slow=slow), "bundle": bad}


def run_checks(context: CheckContext, *, slow: bool = False) -> dict[str, Finding]:
    """What each check that applies finds, by its name.

    A check that raises is a finding, too.
    """
    return {
        check.name: _finding(check, context)
        for check in CHECKS
        if (slow or not check.slow)
        and (context.bundle is not None or not check.of_bundle)
    }


def _finding(check: Check, context: CheckContext) -> Finding:
    try:
        function: Any = load(
            f"derain.runtime.doctor.{check.module}", check.function, ""
        )
        finding: Finding = function(context)
    # Of any type: a machine that is ill in a way nobody thought of is what this is for.
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(
            "missing" if check.needed else "warn", f"the check fails: {text}"
        )
    return finding
