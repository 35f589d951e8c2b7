"""Every network in every precision, at one size and at a range: export and proof."""

import functools
import json
import math

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from derain.core.bundle import Bundle
from derain.export import pipeline, reference
from derain.export.cli import main
from derain.export.frames import CLIP
from derain.models.registry import MODELS
from derain.runtime.derainer import Derainer

STATIC, DYNAMIC = "72x56", "48x40,72x56,96x80"


@pytest.fixture
def export(export_once, monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "to_onnx", export_once)
    # However busy the machine is, every frame is compared.
    monkeypatch.setattr(reference, "_SECONDS", math.inf)

    def run(model, sizes, **options):
        given = {"size" if "," not in sizes else "dynamic": sizes}
        return pipeline.export(
            model, **given, random_weights=True, output=tmp_path / "bundle", **options
        )

    return run


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sizes", [STATIC, DYNAMIC], ids=["static", "dynamic"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("shallow_dcsfn")
def test_every_network_exports_and_runs(export, model, sizes, precision):
    bundle = Bundle.open(export(model, sizes, precision=precision).folder)
    derainer = Derainer(bundle)
    assert derainer.golden_psnr_db > bundle.manifest.golden.min_psnr_db
    frame, _ = bundle.golden_frames()
    assert derainer.derain(frame).shape == frame.shape
    onnx.checker.check_model(bundle.model_path, full_check=True)
    # The verification is the pipeline's own; this sees that it was of these frames.
    wanted = 2 if sizes == STATIC else 3
    if MODELS[model].memory:
        wanted = CLIP * (1 if sizes == STATIC else 3)
    assert bundle.manifest.verification["onnxruntime"]["frames"] == wanted


@pytest.mark.parametrize("model", ["granet", "nledn"])
def test_the_target_onnxruntime_exports_and_runs(export, model):
    bundle = export(model, STATIC, target="onnxruntime")
    made = " ".join(bundle.manifest.operators.values())
    assert "MultiHeadAttention" in made
    assert "MaxUnpool" in made


def test_fp16_bundles_hold_fp16_tensors(export):
    bundle = export("qsnet", STATIC, precision="fp16")
    model = onnx.load(bundle.folder / "model.onnx")
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert onnx.TensorProto.FLOAT not in types


def test_the_file_says_nothing_of_the_machine(export):
    bundle = export("qsnet", STATIC)
    content = (bundle.folder / "model.onnx").read_bytes()
    for text in (b"/models/networks", b"site-packages", b'File "', b"stack_trace"):
        assert text not in content


def test_contract_of_the_graph(export):
    bundle = export("granet", DYNAMIC)
    graph = onnx.load(bundle.folder / "model.onnx").graph
    (frame,), (derained,) = graph.input, graph.output
    for value, name in ((frame, "frame"), (derained, "derained")):
        tensor = value.type.tensor_type
        assert value.name == name
        assert tensor.elem_type == onnx.TensorProto.UINT8
        assert [d.dim_value for d in tensor.shape.dim] == [1, 0, 0, 3]
    # TensorRT takes uint8 only if it is cast first, and cast to last.
    assert next(n.op_type for n in graph.node if "frame" in n.input) == "Cast"
    assert next(n for n in graph.node if "derained" in n.output).op_type == "Cast"


def test_small_frames_are_padded_by_replication_and_cropped(export):
    bundle = export("granet", "10x7")  # 16x16 inside
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    assert manifest["verification"]["onnxruntime"]["max_levels"] <= 1


@functools.cache
def own_network() -> str:
    return (
        "import torch\n"
        "from torch import nn\n"
        "import torch.nn.functional as F\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a = nn.Conv2d(3, 8, 3, padding=1)\n"
        "        self.b = nn.Conv2d(8, 3, 3, padding=1)\n"
        "    def forward(self, bgr):\n"
        "        y, i = F.max_pool2d(torch.relu(self.a(bgr)), 2, return_indices=True)\n"
        "        up = F.max_unpool2d(y, i, 2, output_size=bgr.shape[-2:])\n"
        "        return None, 0.1 * self.b(up)\n"
    )


def test_a_network_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_derainer_net.py").write_text(own_network())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--bgr", "--rain", "--output-index", "1", "--size", "50x38", "--json"]
    result = CliRunner().invoke(
        main, ["--model", "my_derainer_net:Net", "--quiet", *options]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["bundle"] == "net-fp32-50x38"
    network = answer["manifest"]["network"]
    assert network["colour"] == "bgr"
    assert network["returns_rain"] is True
    derainer = Derainer(Bundle.open(tmp_path / "net-fp32-50x38"))
    frame = np.full((38, 50, 3), 99, np.uint8)
    assert derainer.derain(frame).shape == frame.shape
