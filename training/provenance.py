"""Where a run took place: what a record says of its making."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path

import torch


def origin() -> dict[str, str]:
    """Commit, device, versions and date of a run that starts now."""
    return {
        "commit": _commit(),
        "device": device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(
            "T", "seconds"
        ),
    }


def device_name() -> str:
    """The GPU, or else the processor, in words."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit of this checkout; ``+`` at its end where files differ from it."""
    here = Path(__file__).resolve().parent
    answers = []
    for command in (
        ("rev-parse", "HEAD"),
        ("status", "--porcelain", "--untracked-files=no", ".", "../models/networks"),
    ):
        try:
            done = subprocess.run(
                ["git", *command], cwd=here, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
        answers.append(done.stdout.strip())
    return answers[0] + ("+" if answers[1] else "")
