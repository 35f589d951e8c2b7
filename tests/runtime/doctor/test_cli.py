"""``derain-doctor`` on the machine that the tests run on."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from derain.runtime.doctor import checks, machine
from derain.runtime.doctor.checks import CHECKS
from derain.runtime.doctor.doctor_cli import main
from derain.runtime.doctor.machine import Finding


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Enough of it for a machine that stands still for a while."""
    monkeypatch.setattr(machine, "_COMMAND_TIMEOUT_S", 180.0)


def test_this_machine_has_what_is_needed(bundles):
    done = CliRunner().invoke(main, ["--json", str(bundles("darken"))])
    findings = json.loads(done.output)
    assert done.exit_code == 0
    assert list(findings) == [check.name for check in CHECKS if not check.slow]
    assert findings["packages"]["status"] == "ok"
    assert findings["bundle"]["status"] == "ok"
    assert not [f for f in findings.values() if "the check fails" in f["found"]]


@pytest.fixture
def findings(monkeypatch):
    """Makes the checks find what is given."""

    def find(**findings):
        monkeypatch.setattr(checks, "run_checks", lambda context, slow: dict(findings))

    return find


@pytest.mark.parametrize(
    ("status", "code"), [("ok", 0), ("warn", 0), ("absent", 0), ("missing", 1)]
)
def test_exit_status(findings, status, code):
    findings(disk=Finding(status, "something"))
    assert CliRunner().invoke(main, []).exit_code == code


def test_text_has_the_fix_below(findings):
    findings(disk=Finding("warn", "full", "rm -r tmp"), memory=Finding("ok", "much"))
    lines = CliRunner().invoke(main, []).output.splitlines()
    assert lines == [
        "warn     disk    full",
        "                 -> rm -r tmp",
        "ok       memory  much",
    ]


def test_what_is_no_bundle(findings, tmp_path):
    findings()
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert done.exit_code == 1
    assert "is not a bundle: it has no manifest.json" in done.output
    assert "-> make one with derain-export" in done.output


def test_help_and_start_load_nothing_heavy():
    code = (
        "import sys; from derain.runtime.doctor.doctor_cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded.isdisjoint({"av", "cv2", "numpy", "onnxruntime", "tensorrt", "torch"})


def test_it_works_where_no_package_does(tmp_path):
    for name in ("numpy", "cv2", "onnxruntime", "av"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken')\n")
    done = subprocess.run(
        [sys.executable, "-m", "derain.runtime.doctor.doctor_cli", "--json", "bundle"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)
    assert "numpy: ImportError: broken" in findings["packages"]["found"]
    assert findings["packages"]["fix"].startswith("pip install --force-reinstall ")
    assert findings["disk"]["status"] in ("ok", "warn")
    assert findings["bundle"]["found"].startswith("bundle cannot be checked: ")


@pytest.mark.slow
def test_decoders_are_measured():
    pytest.importorskip("av")
    done = CliRunner().invoke(main, ["--json", "--measure"])
    found = json.loads(done.output)["decoders"]["found"]
    assert "H.264 1280x720: processor " in found
