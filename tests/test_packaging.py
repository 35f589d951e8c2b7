import importlib
import runpy
import subprocess
import sys
import warnings
from importlib.metadata import distribution
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="standard from Python 3.11")

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
COMMANDS = (
    "derain-batch",
    "derain-bench",
    "derain-calibrate",
    "derain-compile",
    "derain-doctor",
    "derain-eval",
    "derain-export",
    "derain-run",
    "derain-train",
    "derain-triton",
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


def test_the_devices_wheel_is_the_runtime_alone(monkeypatch):
    pytest.importorskip("setuptools")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DERAIN_WHEEL", "runtime")
    monkeypatch.setattr("sys.argv", ["setup.py", "--version"])
    made = {}

    def setup(distclass):
        made["distribution"] = distclass({"script_name": "setup.py"})

    monkeypatch.setattr("setuptools.setup", setup)
    runpy.run_path(str(ROOT / "setup.py"))
    distribution = made["distribution"]
    with warnings.catch_warnings():  # [tool.distutils] is experimental, it says
        warnings.simplefilter("ignore")
        distribution.parse_config_files()
    rooms = {name.partition(".")[2].partition(".")[0] for name in distribution.packages}
    assert rooms == {"", "core", "runtime"}
    assert distribution.get_version().endswith("+runtime")
    scripts = distribution.entry_points["console_scripts"]
    assert {line.split(" = ")[0] for line in scripts} == {
        *("derain-compile", "derain-doctor", "derain-run"),
    }


def test_without_the_other_rooms_the_front_door_says_what_to_install(monkeypatch):
    import derain

    there = importlib.import_module

    def gone(name, *arguments):
        if name == "derain.models":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return there(name, *arguments)

    monkeypatch.delattr(derain, "models", raising=False)
    monkeypatch.setattr("importlib.import_module", gone)
    with pytest.raises(derain.MissingDependencyError, match=r"'derain\[export\]'"):
        _ = derain.models
