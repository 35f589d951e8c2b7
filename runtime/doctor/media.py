"""Cameras, GStreamer, and OpenCV's video."""

from __future__ import annotations

import json
import os
from pathlib import Path

from derain.runtime.doctor.machine import CheckContext, Finding, last_line, listed

_PLUGINS = "gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
_INSTALL = f"sudo apt install gstreamer1.0-tools {_PLUGINS}"
_NEEDED_ELEMENTS = ("fdsink", "videoconvert", "y4menc")  # of gst: and csi:
_HARDWARE_ELEMENTS = (
    "nvarguscamerasrc",
    "nvvidconv",
    "nvv4l2decoder",
    "nvv4l2h264enc",
    "nvh264dec",
    "nvh264enc",
    "vah264dec",
    "vaapih264dec",
    "v4l2h264dec",
    "v4l2h264enc",
)


def check_opencv(context: CheckContext) -> Finding:
    """OpenCV's video back-ends, and whether it has windows."""
    answer = context.python(
        "import cv2, json, re\n"
        "names = map(cv2.videoio_registry.getBackendName,"
        " cv2.videoio_registry.getBackends())\n"
        "gui = re.search(r'^ *GUI: +(\\S+)', cv2.getBuildInformation(), re.M)\n"
        "gst = re.search(r'^ *GStreamer: +(\\S+)', cv2.getBuildInformation(), re.M)\n"
        "print(json.dumps([sorted(set(names)), gui and gui[1], gst and gst[1]]))"
    )
    if answer.status:
        return Finding("warn", last_line(answer), "pip install opencv-python-headless")
    names, gui, gstreamer = json.loads(answer.output.splitlines()[-1])
    if gstreamer != "YES":  # the registry names what a plug-in could bring
        names = [name for name in names if name != "GSTREAMER"]
    windows = f"windows by {gui}" if gui and gui != "NONE" else "no windows"
    return Finding("ok", f"{listed(names)}; {windows}")


def check_gstreamer(context: CheckContext) -> Finding:
    """GStreamer, what ``gst:`` needs of it, and the hardware elements it has."""
    version = context.machine.run("gst-launch-1.0", "--version")
    if version is None:
        return Finding("absent", "not installed: no gst: and csi: sources", _INSTALL)
    first = version.output.splitlines()[0].rpartition(" ")[2] if version.output else "?"
    missing = [name for name in _NEEDED_ELEMENTS if not _exists(context, name)]
    hardware = [name for name in _HARDWARE_ELEMENTS if _exists(context, name)]
    found = f"{first}; hardware elements: {listed(hardware)}"
    if missing:
        return Finding("warn", f"{found}; without {listed(missing)}", _INSTALL)
    return Finding("ok", found)


def check_cameras(context: CheckContext) -> Finding:
    """Every ``/dev/video*``: its name, and whether it may be used."""
    devices = sorted((context.machine.root / "dev").glob("video[0-9]*"))
    if not devices:
        return Finding("absent", "none")
    texts, fixes = [], []
    for device in devices:
        name = context.text(f"sys/class/video4linux/{device.name}/name") or "unnamed"
        text = f"/dev/{device.name} ({name})"
        if not os.access(device, os.R_OK | os.W_OK):
            text += " may not be used by this user"
            fixes.append("sudo usermod -aG video $USER, and log in again")
        elif holders := _holders(context, device):
            text += f" is in use by {', '.join(holders)}"
        texts.append(text)
    return Finding("warn" if fixes else "ok", "; ".join(texts), "".join(fixes[:1]))


def _exists(context: CheckContext, element: str) -> bool:
    answer = context.machine.run("gst-inspect-1.0", "--exists", element)
    return answer is not None and answer.status == 0


def _holders(context: CheckContext, device: Path) -> list[str]:
    """Programs that have `device` open, as far as this user may see."""
    names = []
    for link in (context.machine.root / "proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:  # gone, or another user's
            continue
        if target in (str(device), f"/dev/{device.name}"):
            pid = link.parents[1].name
            names.append(f"{context.text(f'proc/{pid}/comm') or '?'} ({pid})")
    return sorted(set(names))
