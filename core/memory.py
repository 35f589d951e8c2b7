"""How much memory a program can still have."""

from __future__ import annotations

import re
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = "max"


def available_bytes(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Memory and swap that are left, within the limit of a container.

    Args:
        meminfo: Linux's file about it.
        cgroup: Folder of the limits.

    Returns:
        Bytes; None where the system does not tell.
    """
    text = _read(meminfo)
    fields = dict(re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE))
    if "MemAvailable" not in fields:
        return None
    left = 1024 * (int(fields["MemAvailable"]) + int(fields.get("SwapFree", 0)))
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if limit.isdigit() and used.isdigit():
        cached = re.search(
            r"^inactive_file (\d+)$", _read(cgroup / "memory.stat"), re.M
        )
        freed = int(cached[1]) if cached else 0  # given back when it is needed
        left = min(left, max(0, int(limit) - int(used) + freed))
    return left


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
