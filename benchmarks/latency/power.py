"""Energy, where the machine reports it: RAPL, a Jetson's INA sensors, NVML.

What is read is the energy of the whole processor, board or GPU, idle power included:
what a battery would notice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from derain.benchmarks.latency.nvml import Gpu

_SYSFS = Path("/sys")
_SAMPLE_SECONDS = 0.02


class EnergyMeter(Protocol):
    """A counter of joules."""

    description: str

    def joules(self) -> float:
        """Energy since some moment in the past; only differences mean something."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


def find_meter(sysfs: Path = _SYSFS, gpu: Gpu | None = None) -> EnergyMeter | None:
    """The best meter of this machine, or None: no figure is better than a wrong one.

    A board's sensors come first, as they see everything, then processor and GPU
    counters together.
    """
    if sensors := _ina_inputs(sysfs):
        return InaMeter(sensors)
    packages = [zone for zone in _rapl_packages(sysfs) if _readable(zone)]
    has_gpu = gpu is not None and gpu.joules() is not None
    if packages or has_gpu:
        return CounterMeter(packages, gpu if has_gpu else None)
    return None


class CounterMeter:
    """Energy counters of processor packages (RAPL) and of a GPU (NVML)."""

    def __init__(self, packages: Sequence[Path], gpu: Gpu | None) -> None:
        self._packages = packages
        self._gpu = gpu
        self._last = [_integer(zone / "energy_uj") for zone in packages]
        self._sum_uj = 0
        names = [_text(zone / "name") for zone in packages]
        self.description = ", ".join(
            [f"RAPL {name}" for name in names] + (["NVML"] if gpu else [])
        )

    def joules(self) -> float:
        """See `EnergyMeter.joules`."""
        for i, zone in enumerate(self._packages):
            now = _integer(zone / "energy_uj")
            if now < self._last[i]:  # the counter has wrapped
                self._sum_uj += _integer(zone / "max_energy_range_uj")
            self._sum_uj += now - self._last[i]
            self._last[i] = now
        gpu = self._gpu.joules() if self._gpu else None
        return self._sum_uj / 1e6 + (gpu or 0.0)

    def close(self) -> None:
        """See `EnergyMeter.close`."""


class InaMeter:
    """Power of a Jetson's supply, sampled fifty times a second and added up.

    Args:
        sensors: The files of each channel: a voltage in mV and a current in mA.
    """

    def __init__(self, sensors: Sequence[tuple[str, Path, Path]]) -> None:
        self._sensors = sensors
        self._joules = 0.0
        self._stop = threading.Event()
        self.description = "INA3221 " + ", ".join(name for name, _, _ in sensors)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """See `EnergyMeter.joules`."""
        return self._joules

    def close(self) -> None:
        """See `EnergyMeter.close`."""
        self._stop.set()
        self._thread.join()

    def watts(self) -> float:
        """Power at this moment."""
        return sum(
            _integer(volts) * _integer(amperes) / 1e6
            for _, volts, amperes in self._sensors
        )

    def _sample(self) -> None:
        before = time.perf_counter()
        while not self._stop.wait(_SAMPLE_SECONDS):
            now = time.perf_counter()
            self._joules += self.watts() * (now - before)
            before = now


def _ina_inputs(sysfs: Path) -> list[tuple[str, Path, Path]]:
    """The channel that sees the whole module, or all the rails: name, mV, mA."""
    found = []
    for label in sorted(sysfs.glob("bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
        name = _text(label)
        number = label.name.removeprefix("in").removesuffix("_label")
        volts = label.with_name(f"in{number}_input")
        amperes = label.with_name(f"curr{number}_input")
        if name not in ("", "NC") and volts.is_file() and amperes.is_file():
            found.append((name, volts, amperes))
    # An AGX Orin has no channel for the whole: its rails add up.
    return [channel for channel in found if channel[0] == "VDD_IN"] or found


def _rapl_packages(sysfs: Path) -> list[Path]:
    zones = sorted(sysfs.glob("class/powercap/intel-rapl:*"))
    return [zone for zone in zones if zone.name.count(":") == 1]


def _readable(zone: Path) -> bool:
    try:
        return _integer(zone / "energy_uj") >= 0
    except OSError:  # for root only, since 2020
        return False


def _integer(path: Path) -> int:
    return int(path.read_text())


def _text(path: Path) -> str:
    return path.read_text().strip()
