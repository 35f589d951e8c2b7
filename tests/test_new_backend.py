"""A new backend is one file and one row: every command and the API know it by these."""

import json
import subprocess
import sys

import numpy as np
import pytest

from derain.core.pictures import read_picture, write_picture

# Before any command is loaded, as if the row stood in the table.
SCRIPT = """
import json, sys, types
from click.testing import CliRunner
from derain.runtime import backends

def open_fake(bundle, threads):
    from derain.runtime.backends.ort import open_cpu
    backend = open_cpu(bundle, threads)
    backend.description = "fake 1.0"
    return backend

file = types.ModuleType("derain.runtime.backends.fake")
file.open_fake, file.check = open_fake, lambda: "fake 1.0, made up"
sys.modules[file.__name__] = file
for name in [name for name in backends.BACKENDS if name != backends.REFERENCE]:
    del backends.BACKENDS[name]  # what else works depends on the machine
backends.BACKENDS["fake"] = backends.BackendEntry(
    module="backends.fake", factory="open_fake", check="check",
    summary="a backend that was made up", device="gpu", precisions=("fp32", "fp16"),
)

from derain.benchmarks.cli import main as derain_bench
from derain.benchmarks.latency.options import BenchmarkOptions
from derain.benchmarks.latency.plan import usable_backends
from derain.core.bundle import Bundle
from derain.runtime.cli import main as derain_run
from derain.runtime.doctor import bundle_fit, software
from derain.runtime.doctor.machine import Answer, CheckContext

class Machine:
    def run(self, *command):
        return Answer(*((0, "fake 1.0") if command[-1] == "fake" else (1, "", "no")))

def output(command, *arguments):
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout

bundle, source, sink = sys.argv[1:]
run = ("--source", source, "--sink", sink, "--json", "--quiet")
context = CheckContext(Machine(), Bundle.open(bundle))
def backend_of(*arguments):
    return json.loads(output(derain_run, bundle, *run, *arguments))["backend"]

print(json.dumps({
    "asked": backend_of("--backend", "fake"),
    "auto": backend_of("--force"),
    "run": output(derain_run, "--help"),
    "bench": output(derain_bench, "run", "--help"),
    "rows": usable_backends(BenchmarkOptions())[0],
    "doctor": software.check_backends(context).found,
    "precision": bundle_fit.check_bundle_precision(context).found,
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory, bundles, image):
    folder = tmp_path_factory.mktemp("fake")
    write_picture(folder / "in.png", image())
    command = [sys.executable, "-c", SCRIPT, str(bundles("fp16"))]
    command += [str(folder / "in.png"), str(folder / "out.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_picture(folder / "out.png"), image() >> 1)
    return json.loads(done.stdout.splitlines()[-1])


def test_it_runs_where_it_is_asked_for_and_where_it_is_the_fastest(told):
    assert (told["asked"], told["auto"]) == ("fake 1.0", "fake 1.0")
    assert "a backend that was made up" in " ".join(told["run"].split())


def test_it_is_measured(told):
    assert "fake" in told["bench"]
    assert told["rows"] == ["onnxruntime", "fake"]


def test_the_doctor_asks_it(told):
    assert told["doctor"] == "fake (fake 1.0); not onnxruntime"
    assert told["precision"] == "fp16, as fake 1.0 computes"
