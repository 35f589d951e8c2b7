import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from derain.benchmarks.latency import plan
from derain.benchmarks.latency.options import BenchmarkOptions
from derain.benchmarks.latency.prepare import NetworkSpec
from derain.core.bundle import Bundle
from derain.core.errors import (
    BenchmarkError,
    BundleError,
    EngineError,
    UnknownNameError,
)
from derain.core.sizes import Size, SizeRange
from derain.models.registry import MODELS
from derain.runtime.backends import BACKENDS, check_backend
from support.bundles import identity_model, write_bundle

OPTIONS = BenchmarkOptions(size=(Size(32, 24),)).resolved()


def without_gpu(name):
    if BACKENDS[name].device == "gpu":
        raise EngineError("no GPU")
    return check_backend(name)


@pytest.mark.parametrize("installed", [True, False])
def test_a_backend_is_there_where_its_package_is(monkeypatch, installed):
    if installed:
        pytest.importorskip("openvino")
    else:
        monkeypatch.setitem(sys.modules, "openvino", None)
        monkeypatch.delitem(sys.modules, "derain.runtime.backends.openvino", False)
    monkeypatch.setattr(plan, "check_backend", without_gpu)
    backends, left_out = plan.usable_backends(OPTIONS)
    assert backends == ["onnxruntime", *["openvino"] * installed]
    reasons = [x for x in left_out.values() if x != "no GPU"]
    assert [x.partition(";")[0] for x in reasons] == ["openvino is not installed"] * (
        not installed
    )


def test_targets_are_networks_and_bundles(bundle):
    models, bundles = plan.resolve_targets(
        ["qsnet", "nets:Tiny", str(bundle), bundle, Bundle.open(bundle), "qsnet"]
    )
    assert models == ["qsnet", "nets:Tiny"]
    assert [each.folder for each in bundles] == [bundle] * 3
    assert plan.resolve_targets(["all"])[0] == list(MODELS)


def test_a_target_that_is_neither_is_named():
    with pytest.raises(UnknownNameError, match="unknown model 'qsnt'"):
        plan.resolve_targets(["qsnt"])
    with pytest.raises(BenchmarkError, match="a live object cannot"):
        plan.resolve_targets([object()])
    with pytest.raises(BundleError, match="nowhere is not a bundle"):
        plan.resolve_targets([Path("nowhere")])


def test_a_plain_export_runs_on_backends_of_its_library():
    case = plan.PlannedCase(NetworkSpec(model="qsnet", size=Size(32, 24)))
    backends = ["onnxruntime", "openvino", "onnxruntime-cuda"]
    rows = ["eager", "plain-onnx", "bundle-fp32", "bundle-int8-onnxruntime"]
    keys = [x.key for x in plan.candidate_specs(case, rows, backends, OPTIONS)]
    assert keys == [
        "eager",
        *("plain-onnx/onnxruntime", "plain-onnx/onnxruntime-cuda"),
        *(f"bundle-fp32/{name}" for name in backends),
        "bundle-int8-onnxruntime/onnxruntime",
        "bundle-int8-onnxruntime/onnxruntime-cuda",
    ]


@pytest.mark.parametrize("together", [True, False])
def test_bundles_of_several_networks_may_take_turns(tmp_path, together):
    frame = np.zeros((24, 32, 3), np.uint8)
    bundles = []
    for name, height in (("a", 24), ("b", 24), ("c", 20)):
        sizes = SizeRange.static(Size(32, height))
        golden = frame[:height]
        folder = tmp_path / name
        write_bundle(folder, identity_model(sizes), sizes, golden, golden)
        bundle = Bundle.open(folder)
        bundles.append(replace(bundle, manifest=replace(bundle.manifest, model=name)))
    options = BenchmarkOptions(together=together).resolved()
    cases = plan.plan_cases([], bundles, options)
    found = [[each.manifest.model for each in case.bundles] for case in cases]
    assert found == ([["a", "b"], ["c"]] if together else [["a"], ["b"], ["c"]])
    assert (cases[0].network.model == plan.SEVERAL) == together
