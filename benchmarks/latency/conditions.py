"""The machine's state before and after, and what in it may have spoilt the figures."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from derain.benchmarks.latency.nvml import Gpu

_ROOT = Path("/")
_HOT_CELSIUS = 85.0  # where Jetsons and laptops begin to slow down
_BUSY_SHARE = 0.05  # of the machine, by other programs
_CLOCK_DROP = 0.05
_CLOCK_TICKS = 100  # USER_HZ, the same on every Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The machine at one moment.

    Attributes:
        seconds: A clock.
        governors: Clock governors of the processors.
        clocks_mhz: Clocks now: mean of the processors, GPU.
        celsius: Temperatures by zone.
        load: Load average over the last minute; None where there is none.
        busy_s: Processor time of all programs since the start of the machine.
        own_s: Of this program and its finished children.
        steal_s: Processor time the host gave to others, in a virtual machine.
        throttled: How often the processors were slowed down for heat.
        gpu_throttles: What holds the GPU's clocks down.
    """

    seconds: float
    governors: list[str]
    clocks_mhz: dict[str, int]
    celsius: dict[str, float]
    load: float | None
    busy_s: float
    own_s: float
    steal_s: float
    throttled: int
    gpu_throttles: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How the machine fared.

    Attributes:
        before: At the start.
        after: At the end.
        others_share: Part of the machine's processor time that other programs took.
        steal_share: Part that the host kept, in a virtual machine.
        warnings: What makes the figures less than they could be.
    """

    before: Snapshot
    after: Snapshot
    others_share: float
    steal_share: float
    warnings: list[str]


def take_snapshot(gpu: Gpu | None = None, root: Path = _ROOT) -> Snapshot:
    """The machine now; `root` is where ``/proc`` and ``/sys`` are."""
    cpus = root / "sys/devices/system/cpu"
    clocks = [int(_read(p)) for p in cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    clocks_mhz = {"processor": sum(clocks) // len(clocks) // 1000} if clocks else {}
    governors = {_read(p) for p in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    throttles = cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    celsius = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _read(zone / "temp")
        if value.lstrip("-").isdigit():  # a zone that sleeps cannot be read
            celsius[_read(zone / "type") or zone.name] = int(value) / 1000
    gpu_celsius = gpu.celsius() if gpu else None
    if gpu_celsius is not None:
        celsius["gpu"] = float(gpu_celsius)
    busy, steal = _processor_seconds(_read(root / "proc/stat"))
    times = os.times()
    loads = _read(root / "proc/loadavg").split()
    return Snapshot(
        seconds=time.time(),
        governors=sorted(governors - {""}),
        clocks_mhz=clocks_mhz | (gpu.clocks_mhz() if gpu else {}),
        celsius=celsius,
        load=float(loads[0]) if loads else None,
        busy_s=busy,
        own_s=times.user + times.system + times.children_user + times.children_system,
        steal_s=steal,
        throttled=sum(int(_read(path) or 0) for path in throttles),
        gpu_throttles=gpu.throttles() if gpu else [],
    )


def compare_snapshots(before: Snapshot, after: Snapshot, cores: int) -> Conditions:
    """What happened in between, in words where it matters.

    Args:
        before: Taken before the rows' processes were started.
        after: Taken when they had ended, so that their time counts as ours.
        cores: Processors of the machine.
    """
    available = max((after.seconds - before.seconds) * cores, 1e-9)
    busy, own = after.busy_s - before.busy_s, after.own_s - before.own_s
    others = max(0.0, busy - own) / available
    steal = max(0.0, after.steal_s - before.steal_s) / available
    warnings = []
    if others > _BUSY_SHARE:
        warnings.append(
            f"other programs took {others:.0%} of the processors: the figures are "
            "slower and noisier than on a quiet machine"
        )
    if steal > _BUSY_SHARE:
        warnings.append(f"the host of this virtual machine kept {steal:.0%} of it back")
    slow = [name for name in after.governors if name != "performance"]
    if slow:
        warnings.append(
            f"clock governor {', '.join(slow)}: clocks follow the load; set it to "
            "performance (on a Jetson: sudo jetson_clocks)"
        )
    for zone, celsius in after.celsius.items():
        if celsius >= _HOT_CELSIUS:
            warnings.append(f"{zone} is at {celsius:.0f} degrees C")
    if after.throttled > before.throttled:
        times = after.throttled - before.throttled
        warnings.append(f"the processors were slowed down for heat {times} times")
    for reason in after.gpu_throttles:
        warnings.append(f"the GPU's clocks are held down: {reason}")
    for name, clock in after.clocks_mhz.items():
        first = before.clocks_mhz.get(name, 0)
        if first and not slow and clock < first * (1 - _CLOCK_DROP):
            warnings.append(f"the {name} clock fell from {first} to {clock} MHz")
    return Conditions(
        before=before,
        after=after,
        others_share=others,
        steal_share=steal,
        warnings=warnings,
    )


def _processor_seconds(stat: str) -> tuple[float, float]:
    """Busy and stolen seconds of all processors, from ``/proc/stat``."""
    fields = stat.partition("\n")[0].split()[1:]
    if len(fields) < 8:
        return 0.0, 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
    busy = user + nice + system + irq + softirq
    return busy / _CLOCK_TICKS, steal / _CLOCK_TICKS


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:  # another system, or a virtual machine
        return ""
