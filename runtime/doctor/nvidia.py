"""Jetson, CUDA and TensorRT."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec

from derain.runtime.cuda import extra
from derain.runtime.doctor.machine import Answer, CheckContext, Finding, last_line

# L4T release -> JetPack. Source: NVIDIA's JetPack archive.
_JETPACKS = {
    "35": "JetPack 5",
    "36": "JetPack 6",
    "38": "JetPack 7",
    "39": "JetPack 7.2",
}
_L4T = "etc/nv_tegra_release"
_RELEASE = re.compile(r"R(\d+).*?REVISION: *([\d.]+)")
_FAST_GOVERNORS = frozenset({"performance"})


def check_jetpack(context: CheckContext) -> Finding:
    """The Jetson's L4T release and JetPack."""
    release = context.text(_L4T)
    model = context.text("proc/device-tree/model")
    if release is None:
        return Finding("absent", "not a Jetson")
    match = _RELEASE.search(release)
    if match is None:
        return Finding("warn", f"/etc/nv_tegra_release is unknown: {release[:60]}")
    jetpack = _JETPACKS.get(match[1], "an unknown JetPack")
    package = context.machine.run(
        "dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack"
    )
    installed = package is not None and package.status == 0 and package.output
    found = f"{model or 'Jetson'}, L4T {match[1]}.{match[2]}, " + (
        f"JetPack {installed}" if installed else jetpack
    )
    if not installed:
        fix = "sudo apt install nvidia-jetpack"
        return Finding("warn", f"{found}; nvidia-jetpack is not installed", fix)
    if match[1] == "35":
        return Finding("warn", found, "flash JetPack 6: TensorRT 10 is needed")
    return Finding("ok", found)


def check_tensorrt(context: CheckContext) -> Finding:
    """TensorRT's Python module."""
    answer = _version(context, "tensorrt")
    if answer.status == 0:
        return Finding("ok", answer.output.splitlines()[-1])
    if _is_there("tensorrt"):
        return Finding("warn", f"tensorrt does not load: {last_line(answer)}")
    outside = sorted(
        path
        for path in context.machine.root.glob("usr/lib/python3*/dist-packages/tensorrt")
    )
    if outside:
        where = outside[0]
        return Finding(
            "warn",
            f"{where} is there, but this Python does not see it: {sys.prefix}",
            "python3 -m venv --system-site-packages .venv, with the system's python3; "
            "then install derain there",
        )
    if context.text(_L4T) is not None:
        return Finding("warn", "not installed", "sudo apt install python3-libnvinfer")
    return Finding("absent", "not installed")


def fastest_backend(context: CheckContext) -> str:
    """What to install for the fastest backend of this machine; empty: nothing more."""
    if context.text(_L4T) is not None:
        return f"pip install 'derain[{extra(context.machine.root / _L4T)}]'"
    if context.architecture != "x86_64":
        return ""  # an ARM board: ONNX Runtime, which the plain install has
    if context.machine.run("nvidia-smi", "-L") is not None:
        return "pip install 'derain[tensorrt-rtx]'"
    return "pip install 'derain[openvino]'"


def check_fastest_backend(context: CheckContext) -> Finding:
    """Which backend is the fastest on this kind of machine, and what it needs."""
    release = context.text(_L4T)
    fix = fastest_backend(context)
    if release is not None:
        name, needed = "tensorrt", "cuda.bindings"
    elif context.architecture != "x86_64":
        return Finding("ok", f"onnxruntime, on a processor of {context.architecture}")
    elif fix.endswith("rtx]'"):
        name, needed = "tensorrt-rtx on GeForce RTX and alike", "tensorrt_rtx"
    else:
        name, needed = "openvino for INT8, onnxruntime for others", "openvino"
    if context.python(f"import {needed}").status == 0:
        return Finding("ok", name)
    return Finding("absent", f"{name}; {needed} is not installed", fix)


def check_tensorrt_rtx(context: CheckContext) -> Finding:
    """TensorRT-RTX's Python module."""
    answer = _version(context, "tensorrt_rtx")
    if answer.status == 0:
        return Finding("ok", answer.output.splitlines()[-1])
    if _is_there("tensorrt_rtx"):
        return Finding("warn", f"tensorrt_rtx does not load: {last_line(answer)}")
    return Finding("absent", "not installed")


def check_gpu(context: CheckContext) -> Finding:
    """The CUDA device, its driver and the runtime."""
    answer = context.python(
        "from derain.runtime.cuda.probe import probe\n"
        "from derain.core.errors import EngineError\n"
        "try: d = probe()\n"
        "except EngineError as error: raise SystemExit(str(error))\n"
        "print(f'{d.name}, compute capability {d.compute_capability}, '\n"
        "      f'{d.memory_bytes / 2**30:.1f} GiB; CUDA {d.driver} by the driver, '\n"
        "      f'runtime {d.runtime}')"
    )
    if answer.status == 0:
        return Finding("ok", answer.output.splitlines()[-1])
    is_jetson = context.text(_L4T) is not None
    message, _, fix = last_line(answer).partition("; ")
    return Finding("warn" if is_jetson else "absent", message, fix)


def check_power(context: CheckContext) -> Finding:
    """Power mode and clocks: what a measured rate depends on."""
    modes = context.machine.run("nvpmodel", "-q")
    governors = sorted(
        {
            text
            for path in context.machine.root.glob(
                "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
            )
            if (text := context.text(str(path.relative_to(context.machine.root))))
        }
    )
    clocks = f"processor clocks: {', '.join(governors)}" if governors else ""
    if modes is None:
        if not governors:
            return Finding("absent", "this machine does not tell")
        return Finding("ok", clocks)
    lines = [line.strip() for line in modes.output.splitlines() if line.strip()]
    name = next(
        (line.partition(":")[2].strip() for line in lines if "Power Mode" in line), ""
    )
    found = "; ".join(filter(None, [f"power mode {name or last_line(modes)}", clocks]))
    fastest = _fastest_mode(context)
    is_fastest = name == fastest[1] if fastest else name.startswith("MAXN")
    if is_fastest and _FAST_GOVERNORS.issuperset(governors):
        return Finding("ok", found)
    fix = "sudo jetson_clocks"
    if fastest and not is_fastest:
        fix = f"sudo nvpmodel -m {fastest[0]} && {fix}"
    elif not is_fastest:
        fix = f"choose a mode from /etc/nvpmodel.conf with sudo nvpmodel -m; {fix}"
    return Finding("warn", f"{found}; not the fastest", fix)


def _fastest_mode(context: CheckContext) -> tuple[str, str] | None:
    """Number and name of the fastest power mode; None if there is no table of them.

    The number of MAXN is another on each module: on an Orin Nano Super 0 is 15 W.
    """
    table = context.text("etc/nvpmodel.conf") or ""
    modes: list[tuple[str, str]] = re.findall(
        r"^ *< *POWER_MODEL +ID=(\d+) +NAME=(\S+) *>", table, re.M
    )

    def speed(mode: tuple[str, str]) -> tuple[bool, bool, int]:
        watts = re.search(r"(\d+)W", mode[1])
        return (
            mode[1].startswith("MAXN_SUPER"),
            mode[1].startswith("MAXN"),
            int(watts[1]) if watts else 0,
        )

    return max(modes, key=speed, default=None)


def _is_there(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.origin is not None  # not a folder left behind


def _version(context: CheckContext, module: str) -> Answer:
    return context.python(
        f"import {module} as t; print(t.__version__ + ', ' + str(t.__file__))"
    )
