"""What each room may import and load: imports never point up, names occur once."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The rooms that each room may import, besides itself.
BELOW = {
    "core": (),
    "models": ("core",),
    "runtime": ("core",),
    "batch": ("core", "runtime"),
    "training": ("core", "models", "runtime", "calibration"),
    "calibration": ("core", "runtime"),
    "export": ("core", "models", "runtime", "calibration"),
    "benchmarks": ("core", "models", "runtime", "training", "calibration", "export"),
    "api": (
        *("core", "models", "runtime", "training", "calibration", "export"),
        *("batch", "benchmarks"),
    ),
}
FILES = {room: sorted((ROOT / room).rglob("*.py")) for room in BELOW}
RUNTIME = [
    ".".join(("derain", *path.relative_to(ROOT).with_suffix("").parts))
    for path in (*FILES["core"], *FILES["runtime"])
    if path.name != "__init__.py"
]
TRAINING = {"torch", "onnx", "onnx_ir", "onnxscript", "safetensors"}
HEAVY = TRAINING | {
    *("numpy", "cv2", "av", "onnxruntime"),
    *("tensorrt", "tensorrt_rtx", "cuda", "pycuda"),
    *("ray", "fsspec", "tritonclient"),
}


def imported(path):
    """The names of ours that the file imports, by statements or by text for `load`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", BELOW)
def test_imports_never_point_up(room):
    may = {room, *BELOW[room]}
    for path in FILES[room]:
        for name in imported(path):
            first, _, rest = name.partition(".")
            if first == "derain" and rest:
                assert rest.partition(".")[0] in may, f"{path} imports {name}"


def test_no_two_modules_of_a_room_have_one_name():
    for room, paths in FILES.items():
        places = defaultdict(list)
        for path in paths:
            if path.name != "__init__.py":
                places[path.name].append(str(path.relative_to(ROOT)))
        assert {n: p for n, p in places.items() if len(p) > 1} == {}, room


def test_no_two_public_classes_have_one_name():
    places = defaultdict(list)
    for paths in FILES.values():
        for path in paths:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def loaded(code, *arguments):
    """Top-level modules that are loaded at the end of `code`."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=True,
        text=True,
        timeout=180,
    )
    return set(result.stdout.splitlines()[-1].split())


PRINT = "print(*{name.partition('.')[0] for name in sys.modules})"


def test_no_module_of_the_runtime_loads_training_code():
    pytest.importorskip("av")
    code = f"import sys, {', '.join(RUNTIME)}; {PRINT}"
    modules = loaded(code)
    assert {"numpy", "cv2", "av", "onnxruntime"} <= modules  # all of it was imported
    assert TRAINING.isdisjoint(modules)


@pytest.mark.parametrize(
    "module",
    [
        *("derain", "derain.core", "derain.export", "derain.models", "derain.runtime"),
        *("derain.runtime.cli", "derain.runtime.backends"),
    ],
)
def test_import_loads_nothing_heavy(module):
    assert HEAVY.isdisjoint(loaded(f"import sys, {module}; {PRINT}"))


@pytest.mark.parametrize("room", ["batch", "runtime", "calibration", "export"])
def test_help_loads_nothing_heavy(room):
    code = (
        f"import sys; from derain.{room}.cli import main\n"
        f"main(['--help'], standalone_mode=False); {PRINT}"
    )
    assert HEAVY.isdisjoint(loaded(code))


def test_a_run_on_pictures_loads_neither_training_code_nor_pyav(tmp_path):
    code = (
        "import sys; from derain.runtime.cli import main\n"
        f"try: main(sys.argv[1:])\nexcept SystemExit: {PRINT}"
    )
    picture = str(tmp_path / "in.png")
    write = "import sys, numpy, cv2; cv2.imwrite(sys.argv[1], numpy.zeros((8, 8, 3)))"
    subprocess.run([sys.executable, "-c", write, picture], check=True, timeout=180)
    arguments = (str(tmp_path / "no-bundle"), "--source", picture, "--sink", "null:")
    modules = loaded(code, *arguments)
    assert "cv2" in modules
    assert (TRAINING | {"av"}).isdisjoint(modules)
