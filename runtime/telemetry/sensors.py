"""Memory, temperature and power, where the machine tells.

Sources: ``proc(5)``; the kernel's ``thermal/sysfs-api`` (millidegrees) and
``hwmon/ina3221`` (mV and mA), which a Jetson's module has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Sensors:
    """Finds the files once; reading them is a few system calls.

    Args:
        root: Where ``proc`` and ``sys`` are, for tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._memory = root / "proc/self/statm"
        zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        self._zones = [
            (_text(zone / "type") or zone.name, zone / "temp") for zone in zones
        ]
        self._rails = [
            rail
            for label in sorted(
                (root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*/in*_label")
            )
            if (rail := _rail(label)) is not None
        ]

    def read(self) -> dict[str, Any]:
        """``memory_bytes``, ``temperature_c`` by zone, ``power_w`` by rail.

        What the machine does not tell is None or missing.
        """
        memory = (_text(self._memory) or "").split()
        zones = ((name, _number(path)) for name, path in self._zones)
        return {
            "memory_bytes": (
                int(memory[1]) * os.sysconf("SC_PAGE_SIZE") if memory else None
            ),
            "temperature_c": {
                name: value / 1000 for name, value in zones if value is not None
            },
            "power_w": {
                name: round(millivolts * milliamperes / 1e6, 3)
                for name, voltage, current in self._rails
                if (millivolts := _number(voltage)) is not None
                and (milliamperes := _number(current)) is not None
            },
        }


def _rail(label: Path) -> tuple[str, Path, Path] | None:
    channel = label.name.removeprefix("in").removesuffix("_label")
    name, current = _text(label), label.with_name(f"curr{channel}_input")
    # "sum of shunt voltages" is a channel without a current.
    if not name or not current.exists():
        return None
    return name, label.with_name(f"in{channel}_input"), current


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # many zones cannot be read while their device sleeps
        return None


def _number(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None
