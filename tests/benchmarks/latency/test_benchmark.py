import pytest

pytest.importorskip("torch")

from derain.benchmarks.latency.benchmark import benchmark
from derain.core.errors import BenchmarkError, ConfigError

FAST = {"duration": 0.0, "min_rounds": 2, "warm_up": 0.1, "backends": ["onnxruntime"]}


@pytest.fixture(autouse=True)
def no_peaks(monkeypatch):
    """What takes seconds, and is seen elsewhere."""
    monkeypatch.setattr(
        "derain.benchmarks.latency.benchmark.measure_peaks", lambda threads: []
    )


def test_a_bundle_is_measured_and_printed(bundle, tmp_path, said):
    record = benchmark(bundle, one_process=True, threads=1, work=tmp_path, **FAST)
    (row,) = record.cases[0].rows
    assert row.key == "bundle halves/onnxruntime"
    assert len(row.rounds_ms) == 2
    assert row.key in str(record)
    assert record.command == ["derain.benchmark"]
    assert not record.quick
    assert "qsnet 32x24: bundle halves/onnxruntime: warming up" in said()


def test_a_quick_record_is_marked(bundle):
    record = benchmark(bundle, one_process=True, quick=True, **FAST)
    assert record.quick
    assert "warning: quick" in str(record)


def test_what_does_not_go_together_is_an_error():
    with pytest.raises(BenchmarkError, match="nothing to measure"):
        benchmark()
    with pytest.raises(ConfigError, match="exactly one --model"):
        benchmark("qsnet", "treefusion", weights="w.pth")


def test_on_a_gpu_without_its_package_it_is_said(bundle, monkeypatch, said):
    from derain.benchmarks.latency import benchmark as module

    monkeypatch.setattr(module.Gpu, "find", lambda: None)
    monkeypatch.setattr(module, "has_cuda_device", lambda: True)
    there = module.find_spec
    monkeypatch.setattr(
        module, "find_spec", lambda name: None if name == "pynvml" else there(name)
    )
    benchmark(bundle, one_process=True, **FAST)
    assert any("pip install 'derain[bench]'" in line for line in said())
