from dataclasses import replace

import pytest

from derain.benchmarks.analysis.limits import NetworkLimits
from derain.benchmarks.latency import candidates
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.benchmarks.latency.case import Measurement, to_results
from derain.benchmarks.latency.rounds import Outcome
from derain.benchmarks.latency.runners import Sample
from derain.core.sizes import Size
from derain.runtime.backends import BACKENDS

LIMITS = NetworkLimits(
    counts=[], roofline_ms={"cpu-fp32": 5.0, "gpu-fp32": 1.0}, verdicts=[]
)


@pytest.fixture
def result(monkeypatch):
    """What becomes of a row whose frames take 10 ms."""
    monkeypatch.setattr(candidates, "has_cuda_device", lambda: False)

    def make(name, backend="", ms=10.0):
        spec = CandidateSpec(
            key=f"{name}/{backend}" if backend else name,
            candidate=name,
            model="qsnet",
            size=Size(32, 24),
            threads=1,
            backend=backend,
        )
        outcome = Outcome(samples=[Sample([ms, ms], [{}, {}])] * 3)
        return Measurement(spec, outcome=outcome)

    return make


@pytest.mark.parametrize(
    ("name", "backend", "share"),
    [
        ("eager", "", 0.5),
        ("openvino", "", 0.5),
        ("bundle-fp32", "onnxruntime", 0.5),
        ("bundle-fp32", "openvino", 0.5),
        ("bundle-fp32", "onnxruntime-cuda", 0.1),
        ("bundle-fp32", "tensorrt", 0.1),
    ],
)
def test_a_row_is_held_against_the_roofline_of_its_device(result, name, backend, share):
    (row,) = to_results([result(name, backend)], LIMITS)
    assert row.roofline_share == pytest.approx(share)


def test_pytorch_is_on_the_gpu_where_there_is_one(result, monkeypatch):
    monkeypatch.setattr(candidates, "has_cuda_device", lambda: True)
    (row,) = to_results([result("eager")], LIMITS)
    assert row.roofline_share == pytest.approx(0.1)


def test_the_best_of_pytorch_is_its_fastest_row(result):
    rows = [result("eager"), result("eager-tuned", ms=4.0)]
    ours = to_results([*rows, result("bundle-fp32", "onnxruntime", 2.0)], None)[2]
    assert ours.speed_up.ratio == pytest.approx(5.0)
    assert ours.speed_up_best.ratio == pytest.approx(2.0)


def test_a_precision_without_a_peak_has_no_share(result):
    measurement = result("bundle-int8", "openvino")
    measurement.spec = replace(measurement.spec, precision="int8")
    assert to_results([measurement], LIMITS)[0].roofline_share is None


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_says_what_it_runs_on(name):
    assert BACKENDS[name].device in ("cpu", "gpu")
