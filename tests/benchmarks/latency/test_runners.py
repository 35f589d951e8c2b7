import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from derain.benchmarks.latency.candidate import FrameMemory
from derain.benchmarks.latency.candidates import (
    CANDIDATES,
    CandidateSpec,
    open_candidate,
)
from derain.benchmarks.latency.runners import LocalRunner, RemoteRunner
from derain.core.errors import CandidateError, MissingDependencyError
from derain.core.sizes import Size


@pytest.fixture
def spec(bundle):
    return CandidateSpec(
        key="bundle halves/onnxruntime",
        candidate="bundle",
        model="qsnet",
        size=Size(32, 24),
        threads=1,
        file=bundle,
        backend="onnxruntime",
    )


@pytest.fixture
def remote(spec, frame, tmp_path):
    runner = RemoteRunner(spec, [frame, frame], tmp_path / "log")
    yield runner
    runner.close()


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_row_names_a_factory(name):
    module = CANDIDATES[name].module
    if CANDIDATES[name].is_pytorch:
        pytest.importorskip("torch")
    from importlib import import_module

    assert callable(
        getattr(
            import_module(f"derain.benchmarks.latency.{module}"),
            CANDIDATES[name].factory,
        )
    )


def test_a_row_derains_in_a_process_of_its_own(remote, frame):
    (derained,) = remote.derain([frame])
    np.testing.assert_array_equal(derained, frame >> 1)
    sample = remote.sample(3)
    assert len(sample.latencies_ms) == len(sample.splits_ms) == 3
    assert all(ms > 0 for ms in sample.latencies_ms)
    assert remote.stream_seconds(2) > 0
    assert remote.memory().host_bytes > 10 << 20  # an interpreter and libraries
    assert "onnxruntime" in remote.description


def test_a_row_that_is_killed_says_so(remote):
    os.kill(remote._process.pid, signal.SIGKILL)
    with pytest.raises(
        CandidateError, match="ended by SIGKILL, perhaps for want of memory"
    ):
        remote.sample(1)


def test_a_row_that_cannot_be_opened_says_why(spec, frame, tmp_path):
    (spec.file / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(CandidateError, match=r"model\.onnx has changed"):
        RemoteRunner(spec, [frame], tmp_path / "log")


def test_the_environment_is_as_before(spec, frame, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    RemoteRunner(spec, [frame], tmp_path / "log").close()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


SCRIPT = """
from pathlib import Path
import numpy as np
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.benchmarks.latency.runners import RemoteRunner
from derain.core.sizes import Size

print("the script runs")
spec = CandidateSpec(
    key="bundle",
    candidate="bundle",
    model="qsnet",
    size=Size(32, 24),
    threads=1,
    file=Path({bundle!r}),
    backend="onnxruntime",
)
frame = np.zeros((24, 32, 3), np.uint8)
runner = RemoteRunner(spec, [frame], Path({log!r}))
print(runner.derain([frame])[0].shape)
runner.close()
"""


def test_a_script_without_a_guard_runs_once(bundle, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(bundle=str(bundle), log=str(tmp_path / "log")))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "the script runs\n(24, 32, 3)\n", done.stderr


class Wrong:
    """A candidate that loses a column."""

    description = "wrong"
    memory = FrameMemory()
    split_ms = {}  # noqa: RUF012

    def infer(self, frame):
        return frame[:, 1:]


def test_a_result_of_another_size_is_an_error(frame):
    with pytest.raises(CandidateError, match=r"\(24, 31, 3\) uint8 of \(24, 32, 3\)"):
        LocalRunner(Wrong(), [frame]).sample(1)


def test_a_row_whose_library_is_missing_says_what_to_install(spec, monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(
        sys.modules, "derain.benchmarks.latency.torch_candidates", raising=False
    )
    with pytest.raises(MissingDependencyError, match=r"derain\[export\]"):
        open_candidate(replace(spec, candidate="eager"))
