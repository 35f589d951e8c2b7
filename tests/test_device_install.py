"""What ``pip install`` does on a Jetson: which wheels it finds, and that they run.

The first half asks the registry for the wheels of another machine: JetPack 6 is Python
3.10 on aarch64 with glibc 2.35, JetPack 7 is 3.12 with 2.39. The second half installs
the device's wheel into a Python of that version here, whatever the processor.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="standard from Python 3.11")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
JETPACKS = {"jetpack6": ("3.10", 35), "jetpack7": ("3.12", 39)}  # Python, glibc
NO_NETWORK = re.compile(r"ConnectionError|NewConnectionError|Max retries|timed out")


def requirements(extra):
    """What an extra asks for, those that it consists of included."""
    found = []
    for text in EXTRAS[extra]:
        own = re.fullmatch(r"derain\[(.*)\]", text)
        parts = own[1].split(",") if own else ()
        found += [each for part in parts for each in requirements(part)]
        found += [] if own else [text]
    return found


def pip(*arguments, python=sys.executable, **options):
    """Run pip; skips where the registry is not reachable."""
    done = subprocess.run(
        [python, "-m", "pip", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        **options,
    )
    if done.returncode and NO_NETWORK.search(done.stderr):
        pytest.skip("no package registry is reachable")
    assert done.returncode == 0, done.stderr
    return done.stdout


def resolved(requirements, python, glibc, tmp_path):
    """Versions that pip would install on that machine, by name; nothing is compiled."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(glibc, 16, -1)]
    options = [f"--platform={each}" for each in (*platforms, "manylinux2014_aarch64")]
    report = tmp_path / "report.json"
    pip(
        *("install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
        *(f"--target={tmp_path / 'target'}", f"--report={report}", *options),
        *requirements,
    )
    found = json.loads(report.read_text())["install"]
    return {
        each["metadata"]["name"]: each["metadata"]["version"].split(".")
        for each in found
    }


@pytest.mark.parametrize(
    ("jetpack", "major"), [("jetpack6", 12), ("jetpack7", 13)], ids=JETPACKS
)
def test_cuda_bindings_are_of_the_drivers_major_version(jetpack, major, tmp_path):
    """13.x on the driver of JetPack 6 fails at its first call."""
    found = resolved(requirements(jetpack), *JETPACKS[jetpack], tmp_path)
    numbers = [int(part) for part in found["cuda-bindings"][:2]]
    assert numbers[0] == major
    assert numbers >= [12, 9]


@pytest.mark.parametrize("jetpack", JETPACKS)
def test_the_plain_install_has_wheels_for_a_jetson(jetpack, tmp_path):
    python, glibc = JETPACKS[jetpack]
    # pip takes markers for the Python that runs it.
    wanted = [text.partition(";")[0] for text in PROJECT["dependencies"]]
    wanted += requirements("video") + requirements("preview")
    found = resolved(wanted, python, glibc, tmp_path)
    assert {"numpy", "onnxruntime", "opencv-python-headless", "av"} <= set(found)


def test_the_interpreters_lock_is_let_go_while_the_device_works():
    """Since 12.9.1 and 13.0.0 of cuda-bindings: no extra may allow an older one."""
    texts = [each for extra in EXTRAS for each in EXTRAS[extra] if "cuda-b" in each]
    oldest = {re.search(r">=([\d.]+)", text)[1] for text in texts}
    assert oldest == {"12.9.1", "13"}


@pytest.fixture
def interpreter():
    """Finds a Python of that version; skips where there is none."""

    def find(version):
        program = shutil.which(f"python{version}")
        tries = [{}]
        if shutil.which("pyenv"):  # its python3.10 may need to be told which
            command = ["pyenv", "whence", f"python{version}"]
            listed = subprocess.run(command, capture_output=True, text=True).stdout
            tries += [{"PYENV_VERSION": each} for each in listed.split()]
        for more in tries if program else ():
            done = subprocess.run(
                [program, "-c", "import sys, venv, ssl; print(sys.executable)"],
                capture_output=True,
                text=True,
                env={**os.environ, **more},
            )
            if done.returncode == 0:
                return done.stdout.strip()
        pytest.skip(f"there is no Python {version}")

    return find


IMPORT_ALL = """
import importlib, pkgutil
for room in ("core", "runtime"):
    package = importlib.import_module(f"derain.{room}")
    for found in pkgutil.walk_packages(package.__path__, f"derain.{room}."):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            print(error.name)
"""


@pytest.mark.parametrize("jetpack", JETPACKS)
def test_a_jetsons_python_runs_the_devices_wheel(
    jetpack, interpreter, tmp_path, bundles
):
    """All of JetPack that there is without one: its Python, the extras, the wheel."""
    source, device = tmp_path / "source", tmp_path / "device"
    python = interpreter(JETPACKS[jetpack][0])
    ignored = shutil.ignore_patterns("build", "*.egg-info", "results", ".*", "shared")
    shutil.copytree(ROOT, source, ignore=ignored)
    environment = {**os.environ, "DERAIN_WHEEL": "runtime"}
    target = f"--wheel-dir={tmp_path}"
    pip("wheel", "-q", "--no-deps", target, source, env=environment)
    (wheel,) = tmp_path.glob("derain-*.whl")
    subprocess.run([python, "-m", "venv", device], check=True)
    pip("install", "-q", f"{wheel}[{jetpack}]", python=device / "bin" / "python")

    def run(command, *arguments):
        done = subprocess.run(
            [device / "bin" / command, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for command in ("derain-run", "derain-compile", "derain-doctor"):
        assert "Usage:" in run(command, "--help")
    bundle = bundles("darken")
    found = json.loads(run("derain-doctor", "--json", bundle))
    assert found["packages"]["status"] == found["bundle"]["status"] == "ok"
    picture = bundle / "golden-input.png"
    run("derain-run", bundle, "--source", picture, "--sink", tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 0
    # What an extra brings, and nothing else, is missing in the plain install.
    extras = {"av", "h11", "openvino", "tritonclient", "uvicorn"}
    assert set(run("python", "-c", IMPORT_ALL).split()) <= extras
