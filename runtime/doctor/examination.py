"""The checks on this machine, with the bundle somebody named."""

from __future__ import annotations

from pathlib import Path

from derain.core.errors import BundleError
from derain.runtime.doctor.machine import Finding, Machine, Patient, ThisMachine
from derain.runtime.doctor.table import examine


def examine_machine(
    folder: Path | None, *, slow: bool = False, machine: Machine | None = None
) -> dict[str, Finding]:
    """What the checks find, by name.

    Args:
        folder: A bundle that is to run here, or None.
        slow: Whether to measure, too.
        machine: Another machine than this one, for tests.
    """
    machine = machine or ThisMachine()
    if folder is None:
        return examine(Patient(machine), slow=slow)
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
        return examine(Patient(machine, bundle), slow=slow)
    return {**examine(Patient(machine), slow=slow), "bundle": bad}
