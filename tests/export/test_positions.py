"""What computes where GridSample looks stays in FP32, and nothing else for it."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derain.core.sizes import Size, SizeRange
from derain.core.synthetic.rain import rainy_clip
from derain.export import fp16
from derain.export.frame_graph import wrap_frame
from derain.export.passes import optimize
from derain.export.pipeline import export
from derain.export.to_onnx import to_onnx
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import to_frame, to_picture

SIZE = Size(1280, 32)  # so wide that half a step of FP16 is a sixth of a pixel
FACTS = NetworkFacts(multiple_of=4, minimum=4)


class Shifting(nn.Module):
    """Looks aside by what two convolutions say, up to some pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        height, width = x.shape[2:]
        small = F.avg_pool2d(x, 4)
        flow = torch.tanh(self.second(torch.relu(self.first(small))))
        flow = F.interpolate(4.0 * flow, scale_factor=4.0, mode="bilinear")
        across = torch.linspace(-1, 1, width)
        down = torch.linspace(-1, 1, height)[:, None]
        grid = [flow[:, 0] * (2 / width) + across, flow[:, 1] * (2 / height) + down]
        seen = F.grid_sample(x, torch.stack(grid, -1), align_corners=True)
        return 0.5 * (seen + x)


@pytest.fixture(scope="module")
def core():
    sizes = SizeRange.static(SIZE)
    made = to_onnx(Shifting().eval(), FACTS, sizes, 20)
    wrap_frame(made, FACTS, sizes)
    optimize(made.model, "any")
    return made


def _by_type(core, names):
    types = {node.op_type for node in core.model.graph if node.name in names}
    assert len(names) == len(set(names))
    return types


def test_the_way_back_ends_at_convolutions(core):
    kept = fp16.positions(core.model)
    types = _by_type(core, kept)
    assert {"GridSample", "Resize", "Tanh"} <= types
    assert not types & {"Conv", "Relu", "AveragePool", "Round"}


def test_without_it_half_precision_loses_the_picture(core, monkeypatch):
    frames = [frame for frame, _ in rainy_clip(SIZE, 2, seed=1)]
    network = Shifting().eval()
    with torch.no_grad():
        pictures = [to_picture(torch.from_numpy(x), FACTS) for x in frames]
        wanted = [to_frame(network(x), SIZE, FACTS).numpy() for x in pictures]
    choice = fp16.search_fp16(core, frames, wanted)
    assert choice.keep_fp32 == fp16.positions(core.model)
    monkeypatch.setattr(fp16, "positions", lambda model: frozenset())
    monkeypatch.setattr(fp16, "ENOUGH_DB", 0.0)
    without = fp16.search_fp16(core, frames, wanted)
    assert choice.comparison.psnr_db > without.comparison.psnr_db + 6.0


def test_the_types_in_the_file(tmp_path):
    bundle = export(
        Shifting(),
        size=SIZE,
        precision="fp16",
        multiple_of=4,
        minimum=4,
        output=tmp_path / "b",
    )
    model = onnx.shape_inference.infer_shapes(onnx.load(bundle.model_path))
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    (sampler,) = (n for n in model.graph.node if n.op_type == "GridSample")
    # TensorRT wants both of one type.
    assert {types[name] for name in sampler.input} == {onnx.TensorProto.FLOAT}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert {types[n.output[0]] for n in convolutions} == {onnx.TensorProto.FLOAT16}
    assert np.isin([sampler.name], bundle.manifest.fp32_nodes).all()
