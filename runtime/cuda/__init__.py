"""CUDA devices behind one small Protocol: memory, streams, events, graphs.

Two packages offer them. Each is imported when a device is first opened with it.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from derain.core.errors import EngineError, MissingDependencyError, UnknownNameError
from derain.core.lazy import load

if TYPE_CHECKING:  # the table itself needs no NumPy
    from derain.runtime.cuda.device import Device

__all__ = ["DEVICES", "DeviceEntry", "extra", "open_device"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A package that talks to CUDA.

    Attributes:
        package: What is imported.
        module: Module under `derain.runtime.cuda`.
        cls: Class in it, called with the number of the device; a `Device`.
    """

    package: str
    module: str
    cls: str


DEVICES = {
    "cuda-bindings": DeviceEntry("cuda.bindings", "cuda_python", "CudaPythonDevice"),
    "pycuda": DeviceEntry("pycuda", "pycuda_device", "PycudaDevice"),
}


def open_device(name: str | None = None, number: int = 0) -> Device:
    """Open a CUDA device.

    Args:
        name: A key of `DEVICES`; None takes the first that is installed and starts:
            cuda-bindings for a newer CUDA than the driver's can be imported, and fails
            at its first call.
        number: Of the device, from 0.

    Raises:
        UnknownNameError: `name` is not in `DEVICES`.
        MissingDependencyError: The package is not installed.
        EngineError: There is no GPU, or it cannot be used; the message says why.
    """
    if name is not None:
        if name not in DEVICES:
            raise UnknownNameError("CUDA package", name, DEVICES)
        return _open(name, number)
    first: EngineError | None = None
    for each in filter(_is_installed, DEVICES):
        try:
            device = _open(each, number)
        except EngineError as error:
            first = first or error
            continue
        if first is not None:
            _log.warning("%s; %s is used instead", first, each)
        return device
    raise first or MissingDependencyError("cuda-bindings", extra())


def extra(release: Path = Path("/etc/nv_tegra_release")) -> str:
    """Which ``derain[...]`` brings the cuda-bindings for this machine's driver.

    Args:
        release: Where a Jetson says what its system is.
    """
    try:
        text = release.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "tensorrt"
    return "jetpack6" if text.startswith("# R36") else "jetpack7"


def _open(name: str, number: int) -> Device:
    entry = DEVICES[name]
    cls = load(f"derain.runtime.cuda.{entry.module}", entry.cls, extra())
    return cast("Device", cls(number))


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(DEVICES[name].package) is not None
    except ModuleNotFoundError:  # there is no package cuda that could hold bindings
        return False
