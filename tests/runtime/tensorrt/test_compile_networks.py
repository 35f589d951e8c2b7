"""TensorRT-RTX, the real compiler, takes every network in every precision and size.

The bundles are those of ``derain-export --target tensorrt``. The engines are built for
a GPU that is not here, so they are not run. The figures are recorded as properties of
the tests: ``pytest --junit-xml figures.xml -o junit_family=xunit1``.
"""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")
pytest.importorskip("onnx", reason="the exporter needs derain[export]")

from derain.core.sizes import SizeRange
from derain.export import pipeline, reference, verify
from derain.export.fp16 import Fp16Choice
from derain.export.reference import Reference
from derain.models.registry import MODELS
from derain.runtime.tensorrt.compile import compile

pytestmark = pytest.mark.usefixtures("rtx")

STATIC, DYNAMIC = "72x56", "48x40,72x56,96x80"


@pytest.fixture
def export(export_once, monkeypatch, tmp_path):
    """Exports a network for TensorRT, with a proof where frames are small."""
    monkeypatch.setattr(pipeline, "to_onnx", export_once)
    monkeypatch.setattr(reference, "_SECONDS", math.inf)

    def run(model, sizes, precision, **options):
        given = {"size" if "," not in sizes else "dynamic": sizes}
        bundle = pipeline.export(
            model,
            precision=precision,
            target="tensorrt",
            output=tmp_path / f"{precision}-bundle",
            **{"random_weights": True, **given, **options},
        )
        assert bundle.manifest.verification["parser"]["refused"] == 0
        return bundle.folder

    return run


@pytest.fixture
def compile_for(record_property):
    """Compiles a bundle for a GPU of compute capability 8.6."""

    def run(folder, sizes=None):
        record = compile(
            folder,
            backend="tensorrt-rtx",
            dynamic=sizes,
            compute_capability=("8.6",),
        )
        plan = (folder / record.file).read_bytes()
        assert len(plan) == record.bytes
        for name in ("seconds", "bytes", "peak_bytes"):
            record_property(name, getattr(record, name))
        return record

    return run


def computes_in(record, precision):
    """Whether most convolutions and matrix products are of that type."""
    return max(record.network_types, key=record.network_types.get) == precision


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sizes", [STATIC, DYNAMIC], ids=["static", "dynamic"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("shallow_dcsfn")
def test_every_network_compiles(export, compile_for, model, sizes, precision):
    record = compile_for(export(model, sizes, precision))
    assert str(record.sizes) == sizes
    assert computes_in(record, precision)


# TensorRT-RTX 1.7.1 takes 70 to 95 s of processor time for its 2049 convolutions,
# whatever the size of the frames, the precision and the optimisation level.
@pytest.mark.slow
def test_the_whole_of_dcsfn_is_proven_and_compiles(export, compile_for):
    record = compile_for(export("dcsfn", STATIC, "fp16"))
    assert str(record.sizes) == STATIC
    assert computes_in(record, "fp16")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", ["qsnet", "granet"])
def test_full_size_frames_compile(export, compile_for, monkeypatch, model, precision):
    # The graph is the one of derain-export; only the comparison with PyTorch, a minute
    # of processor time that says nothing about TensorRT, is left out.
    frame = np.zeros((720, 1280, 3), np.uint8)
    same = verify.compare([frame], [frame])
    choice = Fp16Choice(comparison=same)
    monkeypatch.setattr(
        pipeline,
        "derain_reference",
        lambda loaded, frames, mode: Reference(loaded, mode, [frame], [frame]),
    )
    monkeypatch.setattr(pipeline, "search_fp16", lambda *arguments: choice)
    monkeypatch.setattr(verify, "run_graph", lambda *arguments: [frame])
    record = compile_for(export(model, "1280x720", precision))
    assert str(record.sizes) == "1280x720"
    assert computes_in(record, precision)


def test_one_size_of_a_range_compiles(export, compile_for):
    folder = export("qsnet", DYNAMIC, "fp16")
    record = compile_for(folder, SizeRange.parse("80x48"))
    assert str(record.sizes) == "80x48"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sizes", [STATIC, DYNAMIC], ids=["static", "dynamic"])
def test_a_network_of_ones_own_compiles(
    export, compile_for, monkeypatch, tmp_path, sizes, precision
):
    (tmp_path / "plain_unpool_net.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        torch.manual_seed(0)\n"
        "        self.first = nn.Conv2d(3, 8, 3, padding=1)\n"
        "        self.pool = nn.MaxPool2d(2, return_indices=True)\n"
        "        self.middle = nn.Conv2d(8, 8, 3, padding=1)\n"
        "        self.unpool = nn.MaxUnpool2d(2)\n"
        "        self.last = nn.Conv2d(8, 3, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        y = torch.relu(self.first(x))\n"
        "        pooled, indices = self.pool(y)\n"
        "        up = self.unpool(self.middle(pooled), indices, output_size=y.shape)\n"
        "        return x - 0.1 * self.last(up)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = export("plain_unpool_net:Net", sizes, precision)
    assert computes_in(compile_for(folder), precision)
