"""What was measured on, and with: enough to repeat it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from derain.benchmarks.latency.nvml import Gpu

_PACKAGES = (
    *("derain", "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "tensorrt", "tensorrt-rtx", "opencv-python-headless"),
)
_ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """Hardware and software.

    Attributes:
        device: What people call it: the board, else processor and cores.
        processor: Model of the processor.
        cores: Processors that this process may use.
        memory_bytes: Memory of the machine.
        virtual: Whether it is a virtual machine, whose neighbours are unknown.
        gpu: Name of the GPU; None without one.
        driver: Version of the GPU's driver.
        board: Jetson release (L4T); None elsewhere.
        power_mode: Jetson's nvpmodel; None elsewhere.
        system: Operating system and kernel.
        python: Version of Python.
        packages: Versions of the libraries that are installed.
    """

    device: str
    processor: str
    cores: int
    memory_bytes: int
    virtual: bool
    gpu: str | None
    driver: str | None
    board: str | None
    power_mode: str | None
    system: str
    python: str
    packages: dict[str, str]


def usable_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine(gpu: Gpu | None = None, root: Path = _ROOT) -> MachineFacts:
    """This machine; `root` is where ``/proc`` and ``/sys`` are."""
    cpuinfo = _read(root / "proc/cpuinfo")
    processor = _field(cpuinfo, "model name") or platform.processor()
    processor = processor or platform.machine()
    cores = usable_cores()
    model = _read(root / "proc/device-tree/model").strip("\0\n ")
    memory_kb = _field(_read(root / "proc/meminfo"), "MemTotal")
    gpu_name = gpu.name if gpu else None
    name = model or f"{processor}, {cores} core{'s' if cores > 1 else ''}"
    return MachineFacts(
        device=f"{name}, {gpu_name}" if gpu_name else name,
        processor=processor,
        cores=cores,
        memory_bytes=int(memory_kb.split()[0]) * 1024 if memory_kb else 0,
        virtual=" hypervisor" in _field(cpuinfo, "flags"),
        gpu=gpu_name,
        driver=gpu.driver if gpu else None,
        board=_read(root / "etc/nv_tegra_release").partition("\n")[0] or None,
        power_mode=_power_mode(root),
        system=platform.platform(),
        python=platform.python_version(),
        packages=_versions(),
    )


def commit() -> str | None:
    """The git commit of the checkout this runs from, with ``+`` where files differ.

    None where it is not a checkout.
    """
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):  # there is no git
        return None
    return done.stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _power_mode(root: Path) -> str | None:
    """Jetson's power mode: the number in nvpmodel's status, named by its table."""
    status = re.search(r"pmode:(\d+)", _read(root / "var/lib/nvpmodel/status"))
    if status is None:
        return None
    number = int(status[1])
    table = _read(root / "etc/nvpmodel.conf")
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", table)
    names = {int(key): name for key, name in modes}
    name: str = names.get(number, f"mode {number}")
    return name


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # another system
        return ""


def _field(text: str, name: str) -> str:
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
