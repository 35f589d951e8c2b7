"""Memory and disk."""

from __future__ import annotations

import re
import shutil

from derain.runtime.doctor.machine import CheckContext, Finding

_LITTLE_MEMORY = 1 << 30  # a small network at 1280x720 takes most of it
_LITTLE_DISK = 1 << 30


def check_memory(context: CheckContext) -> Finding:
    """Free and total memory."""
    free = available_bytes(context)
    total = _memory_field(context, "MemTotal")
    if free is None or total is None:
        return Finding("absent", "this machine does not tell")
    found = f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f}"
    if free < _LITTLE_MEMORY:
        return Finding("warn", found, "close other programs, or add swap space")
    return Finding("ok", found)


def check_disk(context: CheckContext) -> Finding:
    """Free disk space in the current folder."""
    usage = shutil.disk_usage(".")
    found = f"{usage.free / 2**30:.1f} GiB free in the current folder"
    if usage.free < _LITTLE_DISK:
        return Finding("warn", found, "free some space: a video needs it")
    return Finding("ok", found)


def available_bytes(context: CheckContext) -> int | None:
    """How much memory a program can still have; None if the machine does not tell."""
    return _memory_field(context, "MemAvailable")


def _memory_field(context: CheckContext, name: str) -> int | None:
    match = re.search(rf"^{name}: *(\d+) kB", context.text("proc/meminfo") or "", re.M)
    return int(match[1]) * 1024 if match else None
