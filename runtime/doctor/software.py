"""Python and its packages."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from itertools import combinations
from typing import Any

from derain.runtime.backends import BACKENDS, REFERENCE
from derain.runtime.doctor.machine import (
    Answer,
    CheckContext,
    Finding,
    last_line,
    listed,
)

_OLDEST = (3, 10)
# What the runtime imports, and the packages that bring it.
_NEEDED = {
    "click": ("click",),
    "cv2": ("opencv-python-headless", "opencv-python"),
    "numpy": ("numpy",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
# Packages that write into one folder: the last one that is installed wins, and removing
# either breaks the other.
_SAME_FOLDER = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
}
_IMPORT = """
import importlib, json, sys
for name in sys.argv[1:]:
    try:
        version = getattr(importlib.import_module(name), "__version__", "")
        print(json.dumps([name, version, ""]), flush=True)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        print(json.dumps([name, "", text]), flush=True)
"""
_CHECK_BACKEND = """
import sys
from derain.core.errors import DerainError
from derain.runtime.backends import check_backend
try:
    print(check_backend(sys.argv[1]))
except DerainError as error:
    raise SystemExit(str(error))
"""


def check_python(context: CheckContext) -> Finding:
    """Its version, and where it is."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < _OLDEST:
        return Finding("missing", found, "install Python 3.10 or later")
    return Finding("ok", found)


def check_derain(context: CheckContext) -> Finding:
    """The version that is installed."""
    version = installed("derain")
    if version is None:
        return Finding("warn", "not installed as a package", "pip install derain")
    return Finding("ok", version)


def check_packages(context: CheckContext) -> Finding:
    """What the runtime needs, each package imported in a process of its own."""
    answer = context.python(_IMPORT, *_NEEDED)
    told: dict[str, tuple[str, str]] = {}
    for line in answer.output.splitlines():
        if line.startswith("["):
            name, version, error = json.loads(line)
            told[name] = (version, error)
    broken = {
        name: told[name][1] if name in told else last_line(answer)
        for name in _NEEDED
        if name not in told or told[name][1]
    }
    if broken:
        packages = " ".join(_NEEDED[name][0] for name in broken)
        return Finding(
            "missing",
            "; ".join(f"{name}: {error}" for name, error in broken.items()),
            f"pip install --force-reinstall {packages}",
        )
    versions = (f"{name} {_version_of(name, told[name][0])}" for name in _NEEDED)
    return Finding("ok", ", ".join(versions))


def check_conflicts(context: CheckContext) -> Finding:
    """Packages that are installed over each other."""
    for names in _SAME_FOLDER.values():
        there = [name for name in names if installed(name) is not None]
        for first, second in combinations(there, 2):
            return Finding(
                "warn",
                f"{first} and {second} are installed over each other",
                f"pip uninstall -y {' '.join(there)} && pip install {there[-1]}",
            )
    return Finding("ok", "none")


def check_providers(context: CheckContext) -> Finding:
    """What ONNX Runtime can run on."""
    answer = context.python(
        "import onnxruntime; print(*onnxruntime.get_available_providers())"
    )
    if answer.status:
        return Finding("missing", last_line(answer), "pip install onnxruntime")
    return Finding("ok", listed(answer.output.splitlines()[-1].split()))


def check_backends(context: CheckContext) -> Finding:
    """Which backends work here, and why."""
    answers = {name: ask_backend(context, name) for name in BACKENDS}
    works = [
        f"{name} ({last_line(answer)})"
        for name, answer in answers.items()
        if answer.status == 0
    ]
    if not works:
        reason = last_line(answers[REFERENCE])
        return Finding("missing", f"none: {reason}", "pip install onnxruntime")
    others = [name for name, answer in answers.items() if answer.status]
    if others:
        works.append(f"not {listed(others)}")
    return Finding("ok", "; ".join(works))


def ask_backend(context: CheckContext, name: str) -> Answer:
    """Why the backend called `name` works, or not: it may kill the Python it is in."""
    return context.python(_CHECK_BACKEND, name)


def check_pyav(context: CheckContext) -> Finding:
    """PyAV, its FFmpeg, and the codecs that video needs."""
    answer = context.python(
        "import av, json\n"
        "from av.codec.hwaccel import hwdevices_available\n"
        "print(json.dumps([av.__version__, av.library_versions['libavcodec'],"
        " [c for c in ('h264', 'hevc', 'mjpeg', 'libx264', 'libx265')"
        " if c in av.codecs_available], list(hwdevices_available())]))"
    )
    if answer.status:
        return Finding(
            "absent",
            f"no video files and no network streams: {last_line(answer)}",
            "pip install 'derain[video]'",
        )
    facts: list[Any] = json.loads(answer.output.splitlines()[-1])
    version, libavcodec, codecs, devices = facts
    found = (
        f"{version}, libavcodec {'.'.join(map(str, libavcodec))}; {listed(codecs)}; "
        f"hardware that it was built for: {listed(devices)}"
    )
    if "libx264" not in codecs:
        fix = "pip install --force-reinstall av"
        return Finding("warn", f"{found}; it cannot encode H.264", fix)
    return Finding("ok", found)


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _version_of(module: str, told: str) -> str:
    versions = filter(None, map(installed, _NEEDED[module]))
    return told or next(versions, "of an unknown version")
