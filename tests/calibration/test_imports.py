import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABOVE = ("derain.export", "derain.models", "derain.benchmarks")


def test_calibration_imports_nothing_above_it():
    for path in (ROOT / "calibration").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        imports = [x for x in lines if x.strip().startswith(("import ", "from "))]
        assert not [x for x in imports if any(name in x for name in ABOVE)], path


@pytest.mark.parametrize("module", ["derain.calibration.cli", "derain.export.cli"])
def test_help_loads_nothing_heavy(module):
    code = (
        f"import sys; from {module} import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"torch", "onnx", "onnx_ir", "onnxruntime", "cv2", "av"}
    assert heavy.isdisjoint(loaded)
