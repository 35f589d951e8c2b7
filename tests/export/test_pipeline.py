"""``derain.export`` as a program meets it: networks, sizes and frames as objects."""

import re

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, ExportError, MediaError, ShapeError
from derain.core.sizes import Size, SizeRange
from derain.export.passes import PASSES
from derain.export.pipeline import export
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import derain_frame


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x - 0.1 * self.conv(x)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def frames():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (50, 60, 3), np.uint8) for _ in range(3)]


def test_a_network_itself_becomes_a_bundle():
    network = Net().train()
    bundle = export(network, size=(40, 32))
    assert isinstance(bundle, Bundle)
    assert str(bundle.folder) == "net-fp32-40x32"
    assert bundle.manifest == Bundle.open(bundle.folder).manifest
    assert bundle.manifest.model == "net"
    assert bundle.manifest.weights["source"] == "as given"
    assert bundle.manifest.sizes == SizeRange.static(Size(40, 32))
    assert network.training
    assert bundle.manifest.verification["onnxruntime"]["max_levels"] <= 1
    frame, derained = bundle.golden_frames()
    wanted = derain_frame(network.eval(), NetworkFacts(), frame)
    assert np.abs(wanted.astype(int) - derained).max() <= 1


def test_sizes_of_a_range_and_facts_of_the_network():
    bundle = export(
        Net(), dynamic=((20, 20), "40x32", Size(64, 64)), bgr=True, multiple_of=8
    )
    assert str(bundle.manifest.sizes) == "20x20,40x32,64x64"
    assert bundle.manifest.network["colour"] == "bgr"
    assert bundle.manifest.network["multiple_of"] == 8


def test_paths_may_be_text(tmp_path):
    torch.save(Net().state_dict(), "net.pth")
    bundle = export(Net(), size="40x32", weights="net.pth", output=f"{tmp_path}/mine")
    assert bundle.folder == tmp_path / "mine"
    assert bundle.manifest.weights["source"] == "net.pth"


def test_frames_to_verify_on_may_be_arrays(frames):
    bundle = export(Net(), size="60x50", frames=iter(frames), output="of-arrays")
    golden, _ = bundle.golden_frames()
    np.testing.assert_array_equal(golden, frames[0])


def test_frames_to_verify_on_may_be_a_source():
    bundle = export(
        Net(), size="40x32", frames="test://rain?size=40x32&seconds=1", output="of-uri"
    )
    assert bundle.manifest.verification["onnxruntime"]["frames"] == 2


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ([], MediaError, "there are no frames to verify on"),
        ([np.zeros((4, 4), np.uint8)], ShapeError, r"got \(4, 4\) uint8, wanted"),
        ([np.zeros((4, 4, 3))], ShapeError, r"got \(4, 4, 3\) float64, wanted"),
    ],
    ids=["none", "grey", "floats"],
)
def test_arrays_that_are_no_frames(given, error, match):
    with pytest.raises(error, match=match):
        export(Net(), size="40x32", frames=given)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": "1280"}, "size"),
        ({"size": (0, 5)}, "at least 1"),
        ({"size": "40x32", "dynamic": "8x8,9x9,10x10"}, "exclude each other"),
        ({"weights": "a.pth", "random_weights": True}, "exclude each other"),
        ({"precision": "fp64"}, "precision 'fp64': wanted fp32, fp16, int8"),
        ({"target": "tpu"}, "target: 'tpu' is not one of"),
        ({"opset": 4}, "opset: 4 is not in the range"),
        ({"tolerance": -1}, "tolerance: -1"),
        ({"calibrate_on": "rainy.mp4"}, "for --int8 alone"),
        ({"method": "mse"}, "for INT8 that is calibrated here alone: method"),
        (
            {"precision": "int8", "calibration": "c.json", "dry": True},
            "for INT8 that is calibrated here alone: dry",
        ),
    ],
    ids=str,
)
def test_options_that_make_no_sense(tmp_path, options, match):
    with pytest.raises(ConfigError, match=match):
        export(Net(), **options)
    assert not list(tmp_path.iterdir())


def test_facts_of_a_network_of_ours_are_its_own():
    with pytest.raises(ConfigError, match="for a network of your own"):
        export("qsnet", bgr=True)


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match="heigth"):
        export(Net(), heigth=5)


def _model(bundle):
    return onnx.load(bundle.model_path)


def _steps(folder):
    names = sorted(path.name for path in folder.iterdir())
    numbers = [name.partition("-")[0] for name in names]
    assert numbers == [f"{k:02}" for k in range(len(names))]
    return [re.sub(r"^\d\d-|\.onnx$", "", name) for name in names]


def test_the_graph_after_every_step_is_kept(tmp_path):
    folder = tmp_path / "graphs"
    export(Net(), size="40x32", precision="fp16", keep_graphs=folder)
    passes = [name for name, row in PASSES.items() if "any" in row.targets]
    assert _steps(folder) == ["pytorch", "frame", *passes, "fp16", "operators"]
    first, second, *_, last = (onnx.load(path) for path in sorted(folder.iterdir()))
    assert first.graph.input[0].name == "image"
    assert second.graph.input[0].name == "frame"
    bundle = Bundle.open(tmp_path / "net-fp16-40x32")
    wanted = [node.op_type for node in _model(bundle).graph.node]
    assert [node.op_type for node in last.graph.node] == wanted


def test_kept_graphs_replace_graphs_alone_and_by_force(tmp_path):
    folder = tmp_path / "graphs"
    export(Net(), size="40x32", keep_graphs=folder)
    kept = _steps(folder)
    (folder / "99-old.onnx").write_bytes(b"")
    with pytest.raises(ExportError, match="graphs is not empty; replace them with"):
        export(Net(), size="40x32", keep_graphs=folder, output="other")
    export(Net(), size="40x32", keep_graphs=folder, output="other", force=True)
    assert _steps(folder) == kept
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="graphs is not empty; choose another"):
        export(Net(), size="40x32", keep_graphs=folder, output="other", force=True)
    assert len(list(folder.iterdir())) == len(kept) + 1
