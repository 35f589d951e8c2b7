import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="standard from Python 3.11")

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
COMMANDS = (
    "derain-bench",
    "derain-calibrate",
    "derain-compile",
    "derain-doctor",
    "derain-eval",
    "derain-export",
    "derain-run",
    "derain-train",
)


def test_every_package_folder_is_listed():
    folders = {top: name for name, top in SETUPTOOLS["package-dir"].items()}
    found = {
        ".".join([folders[top], *init.parent.relative_to(ROOT / top).parts])
        for top in folders
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(SETUPTOOLS["packages"])


def test_every_command_is_installed():
    commands = {
        entry.name
        for entry in distribution("derain").entry_points
        if entry.group == "console_scripts"
    }
    assert commands == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_heavy_package(command):
    (entry,) = (e for e in distribution("derain").entry_points if e.name == command)
    code = (
        f"import sys; sys.argv = ['{command}', '--help']\n"
        f"import {entry.module} as m\n"
        "try:\n    m.main()\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "Usage:" in done.stdout
    loaded = set(done.stderr.split())
    assert not loaded & {"torch", "onnx", "onnx_ir", "onnxruntime", "cv2", "av"}


def test_the_runtime_dependencies_are_the_lean_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {text.partition(">")[0] for text in project["dependencies"]}
    assert names == {
        *("click", "numpy", "onnxruntime", "opencv-python-headless"),
        "tomli",  # on Python 3.10 alone
    }


def test_package_data_is_installed():
    from importlib import resources

    photos = resources.files("derain.export") / "photos"
    assert sum(p.name.endswith(".jpg") for p in photos.iterdir()) == 3
