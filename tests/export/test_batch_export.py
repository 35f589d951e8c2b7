"""``--batch N``: the second graph, proven against PyTorch row by row."""

import importlib.util
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")

from torch import nn

from derain.core.errors import ConfigError, ExportError, NetworkError, VerificationError
from derain.core.sizes import SizeRange
from derain.export.batch_graph import require_batchable
from derain.export.operators.lowering import lower_operators
from derain.export.options import ExportOptions
from derain.export.pipeline import export
from derain.export.to_onnx import to_onnx
from derain.models.operators import region_non_local
from derain.models.registry import NetworkFacts
from derain.models.video_network import VideoNetwork
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.batching import _test
from support.video_networks import RlspLike, lively

BATCH = 3


class Leaking(nn.Module):
    """Alone it is as good as any; in company it takes off what all have in common."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return x - 0.1 * y + 0.05 * (y - y.mean(0, keepdim=True))


class WholeAxis(nn.Module):
    """A state without an axis for the frames."""

    def states(self, height, width):
        return [(3, height, width)]

    def forward(self, frame, before):
        return 0.5 * (frame + before), frame[0]


class Attending(nn.Module):
    """Attention within regions, whose body is written for one frame."""

    def forward(self, x):
        return region_non_local(x, x, x, 2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export(
        lively(RlspLike()),
        size="61x45",  # padded
        multiple_of=2,
        precision="fp16",  # FP32 is that of the network that leaks
        batch=BATCH,
        output=tmp_path_factory.mktemp("batch") / "bundle",
    )


def test_every_row_is_proven_over_the_whole_clip(bundle):
    proof, one = (
        bundle.manifest.verification[name] for name in ("batch", "onnxruntime")
    )
    assert proof["frames"] == BATCH * one["frames"]
    assert proof["psnr_db"] == pytest.approx(one["psnr_db"], abs=1)
    assert bundle.manifest.batch == BATCH


def test_tensors_are_those_of_one_frame_for_each_row(bundle):
    import onnx

    graph = onnx.load(bundle.batch_path).graph
    shapes = {
        each.name: tuple(axis.dim_value for axis in each.type.tensor_type.shape.dim)
        for each in (*graph.input, *graph.output)
    }
    for row in range(BATCH):
        assert shapes[f"row_{row}_frame"] == (1, 45, 61, 3)
        assert shapes[f"row_{row}_derained"] == (1, 45, 61, 3)
        assert shapes[f"row_{row}_state_1_in"] == (1, 12, 23, 31)
        assert shapes[f"row_{row}_health"] == ()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_it_passes_its_self_test_on_each_backend(bundle, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    with Derainer(bundle, backend) as derainer:
        graph = derainer.shared_backend.open_batch()
        _test(derainer, graph, [derainer.session() for _ in range(BATCH)])
        graph.close()


def test_rows_that_leak_are_found(tmp_path):
    with pytest.raises(VerificationError, match=r"^--batch 2: the FP32 graph differs"):
        export(lively(Leaking()), size="32x24", batch=2, output=tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_state_without_an_axis_for_frames_is_refused():
    video = VideoNetwork(WholeAxis(), NetworkFacts())
    memory = video.memory(SizeRange.parse("32x24"))

    class Loaded:
        name = "whole"

    with pytest.raises(
        NetworkError, match=r"^--batch: state_0 of whole is \(3, 24, 32"
    ):
        require_batchable(Loaded(), memory)


def test_attention_within_regions_is_refused():
    core = to_onnx(Attending(), NetworkFacts(), SizeRange.parse("16x16"), 20, batch=2)
    with pytest.raises(ExportError, match="is written for one frame a call"):
        lower_operators(core.model, "any", core.maps)


def test_engines_take_no_batches():
    with pytest.raises(ConfigError, match="--batch is for ONNX Runtime and OpenVINO"):
        ExportOptions(batch=2, target="tensorrt").check(own=False)


def test_int8_takes_no_batches():
    with pytest.raises(ConfigError, match="--batch is for --fp32 and --fp16, got"):
        ExportOptions(batch=2, precision="int8").check(own=False)


def test_a_bundle_without_is_written_as_before(bundle):
    manifest = replace(bundle.manifest, batch=1)
    assert "batch" not in manifest.to_json()
    assert bundle.manifest.to_json()["batch"] == BATCH
