"""The frame contract in a graph, against the same in PyTorch."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from derain.core.sizes import SizeRange
from derain.export.frame_graph import wrap_frame
from derain.export.to_onnx import to_onnx
from derain.export.verify import run_graph
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import derain_frame


class Darken(nn.Module):
    """Takes the mean of what it sees off, which tells how the frame was padded."""

    def forward(self, x):
        return x - 0.5 * x.mean((2, 3), keepdim=True)


class Deep(nn.Module):
    """Runs at multiples of 16 alone."""

    def forward(self, x):
        small = nn.functional.avg_pool2d(x, 16)
        return 0.5 * (Darken()(x) + nn.functional.interpolate(small, scale_factor=16))


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("network", "multiple_of", "minimum", "sizes", "frames"),
    [
        (Darken, 1, 1, "20x24", ["20x24"]),
        (Darken, 16, 40, "20x50", ["20x50"]),
        # 40 is no multiple of 16: 20 becomes 48.
        (Deep, 16, 40, "20x24,56x50,64x64", ["20x24", "56x50", "41x64"]),
        (Deep, 16, 16, "17x24,56x50,64x64", ["17x24", "56x50"]),
        (Darken, 1, 32, "20x24,56x50,64x64", ["20x24", "56x50"]),
    ],
)
def test_a_graph_pads_as_pytorch_does(
    tmp_path, network, multiple_of, minimum, sizes, frames, colour
):
    facts = NetworkFacts(colour=colour, multiple_of=multiple_of, minimum=minimum)
    sizes = SizeRange.parse(sizes)
    core = to_onnx(network().eval(), facts, sizes, 20)
    wrap_frame(core, facts, sizes)
    ir.save(core.model, tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    for width, height in (map(int, size.split("x")) for size in frames):
        frame = random.integers(0, 256, (height, width, 3), np.uint8)
        (got,) = run_graph(tmp_path / "model.onnx", [frame])
        wanted = derain_frame(network(), facts, frame, facts.pad_mode(sizes))
        assert np.abs(got.astype(int) - wanted).max() <= 1
        assert (got == wanted).mean() > 0.99


def test_the_mean_tells_padded_sizes_apart():
    frame = np.full((20, 20, 3), 100, np.uint8)
    frame[:, 10:] = 0
    facts = [NetworkFacts(multiple_of=16, minimum=n) for n in (40, 64)]
    one, other = (derain_frame(Darken(), f, frame, "edge") for f in facts)
    assert not np.array_equal(one, other)
    assert torch.is_grad_enabled()
