"""What each part may load: the runtime runs on a device without PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNTIME = [
    ".".join(("derain", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted((ROOT / "runtime").rglob("*.py"))
    if path.name != "__init__.py"
]
TRAINING = {"torch", "onnx", "onnx_ir", "onnxscript", "safetensors"}
HEAVY = TRAINING | {
    *("numpy", "cv2", "av", "onnxruntime"),
    *("tensorrt", "tensorrt_rtx", "cuda", "pycuda"),
}


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
    "module", ["derain.runtime", "derain.runtime.cli", "derain.runtime.backends"]
)
def test_import_loads_nothing_heavy(module):
    assert HEAVY.isdisjoint(loaded(f"import sys, {module}; {PRINT}"))


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from derain.runtime.cli import main\n"
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


@pytest.mark.parametrize("layer", ["runtime"])
def test_imports_never_point_up(layer):
    above = (
        "derain.calibration",
        "derain.export",
        "derain.models",
        "derain.benchmarks",
    )
    for path in (ROOT / layer).rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        imports = [
            line for line in lines if line.strip().startswith(("import", "from"))
        ]
        assert not [line for line in imports if any(name in line for name in above)], (
            path
        )
