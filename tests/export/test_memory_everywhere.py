"""Networks with a memory, of every kind that is known: what each backend does."""

import importlib.util

import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")

from derain.export.pipeline import export
from derain.runtime.derainer import load
from derain.runtime.tensorrt.compile import compile
from support.video_networks import (
    BsvdLike,
    EdvrLike,
    FastDvdNetLike,
    RlspLike,
    RvmLike,
    S2vdLike,
    lively,
)

FIVE = {"window": 5, "look_ahead": 2}
NETWORKS = {
    "fastdvdnet": (FastDvdNetLike, FIVE),
    "s2vd": (S2vdLike, {**FIVE, "multiple_of": 2}),
    "edvr": (EdvrLike, {"window": 5, "look_ahead": 1, "multiple_of": 4}),
    "rvm": (RvmLike, {"multiple_of": 16}),
    "rlsp": (RlspLike, {"multiple_of": 2}),
    "bsvd": (BsvdLike, {"look_ahead": 1, "bgr": True}),
}


@pytest.mark.parametrize(
    ("precision", "least_db"), [("fp32", 75), ("fp16", 50)], ids=["fp32", "fp16"]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_proven_runs_and_compiles(name, precision, least_db, tmp_path):
    network, options = NETWORKS[name]
    bundle = export(
        lively(network()),
        size="64x48",
        precision=precision,
        output=tmp_path / "bundle",
        **options,
    )
    assert bundle.manifest.verification["onnxruntime"]["psnr_db"] > least_db
    for package, backend in (("onnxruntime", "onnxruntime"), ("openvino", "openvino")):
        if importlib.util.find_spec(package) is not None:
            with load(bundle.folder, backend=backend) as derainer:
                assert derainer.golden_psnr_db > least_db
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        record = compile(
            bundle.folder, backend="tensorrt-rtx", compute_capability=("8.6",)
        )
        assert list(record.network_types) == [precision]
