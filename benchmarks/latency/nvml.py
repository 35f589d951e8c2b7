"""The few figures of an NVIDIA GPU that a benchmark needs, from the driver's library.

Without a package: the driver brings ``libnvidia-ml.so.1``, and its C interface is
stable. A Jetson has none, or one that answers little.

Source: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_NAME_BYTES = 96
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_TEMPERATURE_GPU = 0
# nvmlClocksThrottleReason...: the ones that slow a busy GPU down.
_THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class Gpu:
    """The first GPU of the machine.

    Every figure is None where the driver does not give it.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._handle))

    @classmethod
    def find(cls) -> Gpu | None:
        """The GPU, or None where there is no driver or no device."""
        try:
            library = ctypes.CDLL(_LIBRARY)
        except OSError:
            return None
        count = ctypes.c_uint()
        if library.nvmlInit_v2():
            return None
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) or not count.value:
            return None
        return cls(library)

    @property
    def name(self) -> str | None:
        """As the driver calls it."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        failed = self._library.nvmlDeviceGetName(self._handle, name, _NAME_BYTES)
        return None if failed else name.value.decode()

    @property
    def driver(self) -> str | None:
        """Version of the driver."""
        text = ctypes.create_string_buffer(_NAME_BYTES)
        failed = self._library.nvmlSystemGetDriverVersion(text, _NAME_BYTES)
        return None if failed else text.value.decode()

    def used_bytes(self) -> int | None:
        """Device memory in use, by everybody."""
        memory = _Memory()
        failed = self._library.nvmlDeviceGetMemoryInfo(
            self._handle, ctypes.byref(memory)
        )
        return None if failed else int(memory.used)

    def joules(self) -> float | None:
        """Energy since the driver was loaded."""
        millijoules = self._read(
            self._library.nvmlDeviceGetTotalEnergyConsumption, ctypes.c_ulonglong()
        )
        return None if millijoules is None else millijoules / 1000

    def clocks_mhz(self) -> dict[str, int]:
        """Clocks of the multiprocessors and of the memory."""
        found = {}
        for name, kind in (("gpu", _CLOCK_SM), ("gpu memory", _CLOCK_MEMORY)):
            clock = self._read(
                self._library.nvmlDeviceGetClockInfo, ctypes.c_uint(), kind
            )
            if clock is not None:
                found[name] = clock
        return found

    def celsius(self) -> int | None:
        """Temperature."""
        return self._read(
            self._library.nvmlDeviceGetTemperature, ctypes.c_uint(), _TEMPERATURE_GPU
        )

    def throttles(self) -> list[str]:
        """What holds the clocks down now."""
        reasons = self._read(
            self._library.nvmlDeviceGetCurrentClocksThrottleReasons,
            ctypes.c_ulonglong(),
        )
        return [text for bit, text in _THROTTLES.items() if (reasons or 0) & bit]

    def _read(self, call: Callable[..., int], value: Any, *before: int) -> int | None:
        failed = call(self._handle, *before, ctypes.byref(value))
        return None if failed else int(value.value)
