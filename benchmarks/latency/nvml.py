"""The few figures of an NVIDIA GPU that a benchmark needs, from the driver (NVML).

A Jetson's driver has no NVML, or one that answers little.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

# nvmlClocksThrottleReason...: the ones that slow a busy GPU down.
_THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}


class Gpu:
    """The first GPU of the machine.

    Every figure is None where the driver does not give it.

    Args:
        nvml: The module ``pynvml``, initialised.
    """

    def __init__(self, nvml: ModuleType) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(0)
        self.name: str | None = self._read(nvml.nvmlDeviceGetName, self._handle)
        self.driver: str | None = self._read(nvml.nvmlSystemGetDriverVersion)

    @classmethod
    def find(cls) -> Gpu | None:
        """The GPU, or None where there is none, or no driver, or no ``pynvml``."""
        try:
            import pynvml
        except ModuleNotFoundError:
            return None
        try:
            pynvml.nvmlInit()
            return cls(pynvml) if pynvml.nvmlDeviceGetCount() else None
        except pynvml.NVMLError:
            return None

    def used_bytes(self) -> int | None:
        """Device memory in use, by everybody."""
        memory = self._read(self._nvml.nvmlDeviceGetMemoryInfo, self._handle)
        return None if memory is None else int(memory.used)

    def joules(self) -> float | None:
        """Energy since the driver was loaded."""
        energy = self._nvml.nvmlDeviceGetTotalEnergyConsumption
        millijoules = self._read(energy, self._handle)
        return None if millijoules is None else millijoules / 1000

    def clocks_mhz(self) -> dict[str, int]:
        """Clocks of the multiprocessors and of the memory."""
        nvml = self._nvml
        clocks = {
            name: self._read(nvml.nvmlDeviceGetClockInfo, self._handle, kind)
            for name, kind in (
                ("gpu", nvml.NVML_CLOCK_SM),
                ("gpu memory", nvml.NVML_CLOCK_MEM),
            )
        }
        return {name: clock for name, clock in clocks.items() if clock is not None}

    def celsius(self) -> int | None:
        """Temperature."""
        nvml = self._nvml
        found: int | None = self._read(
            nvml.nvmlDeviceGetTemperature, self._handle, nvml.NVML_TEMPERATURE_GPU
        )
        return found

    def throttles(self) -> list[str]:
        """What holds the clocks down now."""
        ask = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        reasons = self._read(ask, self._handle) or 0
        return [text for bit, text in _THROTTLES.items() if reasons & bit]

    def _read(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None
