"""Each pass leaves the result as it was; each test also sees that it did its work."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derain.core.sizes import SizeRange
from derain.export.passes import PASSES, optimize
from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.channel_permutations import fold_channel_permutations
from derain.export.passes.cleanup import fold_constants, remove_dead
from derain.export.passes.dense_groups import (
    dense_weight,
    make_grouped_convolutions_dense,
)
from derain.export.passes.split_concats import split_convolutions_of_concats
from derain.export.passes.thin_convolutions import widen_thin_convolutions
from derain.export.to_onnx import to_onnx
from derain.models.networks.qsnet import QSNet, ShuffleUnit, channel_shuffle
from derain.models.registry import NetworkFacts

# Folding changes the order of additions; the pictures of these networks are near 1.
ATOL = 2e-5


def graph_of(network: nn.Module, sizes: str = "24x18") -> ir.Model:
    model = to_onnx(network.eval(), NetworkFacts(), SizeRange.parse(sizes), 20).model
    fold_constants(model)
    return model


def run(model: ir.Model, image: torch.Tensor) -> np.ndarray:
    proto = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(proto, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


def types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def check(model: ir.Model, change, *images: torch.Tensor) -> int:
    """Run `change` and compare before with after; returns what it counted."""
    before = [run(model, image) for image in images]
    count = change(model)
    remove_dead(model)
    for image, wanted in zip(images, before, strict=True):
        assert np.abs(run(model, image) - wanted).max() < ATOL
    return count


def picture(height: int = 18, width: int = 24) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))


class Wrapped(nn.Module):
    """3 -> channels -> `middle` -> 3."""

    def __init__(self, middle: nn.Module, channels: int, outputs: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(outputs or channels, 3, 3, padding=1)

    def forward(self, x):
        return x - self.last(self.middle(torch.relu(self.first(x))))


def lively(network: nn.Module) -> nn.Module:
    """Statistics and last layers that are not the neutral ones of a new network."""
    generator = torch.Generator().manual_seed(4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.Conv2d) and not module.weight.detach().any():
            module.weight.data.normal_(0, 0.02, generator=generator)
    return network


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x):
        return channel_shuffle(x, self.groups)


def test_batch_norms_are_folded():
    network = lively(
        Wrapped(
            nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 1, groups=2),
                nn.BatchNorm2d(8),
            ),
            8,
        )
    )
    model = graph_of(network)
    assert check(model, fold_batch_norms, picture()) == 2
    assert "BatchNormalization" not in types(model)


def test_a_batch_norm_with_another_reader_in_front_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    model = graph_of(lively(Shared()))
    assert check(model, fold_batch_norms, picture()) == 0
    assert "BatchNormalization" in types(model)


@pytest.mark.parametrize(
    ("middle", "channels"),
    [
        pytest.param([Shuffle(2), nn.Conv2d(8, 8, 3, padding=1)], 8, id="dense"),
        pytest.param(
            [Shuffle(4), nn.Conv2d(8, 8, 3, padding=1, groups=2)], 8, id="grouped"
        ),
        pytest.param(
            [Shuffle(2), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()],
            8,
            id="depth-wise",
        ),
        pytest.param([Shuffle(2), Shuffle(3), nn.Tanh()], 12, id="two"),
        pytest.param([Shuffle(3), nn.LeakyReLU(0.1), nn.MaxPool2d(1)], 9, id="pool"),
    ],
)
def test_shuffles_are_folded(middle, channels):
    network = Wrapped(nn.Sequential(*middle), channels)
    for sizes in ("24x18", "8x8,24x18,32x32"):
        model = graph_of(network, sizes)
        assert check(model, fold_channel_permutations, picture()) >= 1
        assert not {"Transpose", "Gather"} & set(types(model))


class Residual(nn.Module):
    """Two operands of which one is shuffled, and a concatenation of both."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.branch = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        shuffled = channel_shuffle(x, 2)
        if self.kind == "own branch":
            return shuffled + torch.relu(self.branch(x))
        if self.kind == "shared":
            return shuffled + x
        if self.kind == "concat":
            return torch.cat([x, shuffled, self.branch(shuffled)], 1)
        return shuffled * torch.arange(8.0).view(1, 8, 1, 1) + 1


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [("own branch", 8), ("shared", 8), ("concat", 24), ("per channel", 8)],
)
def test_shuffles_in_front_of_several_operands_are_right(kind, outputs):
    model = graph_of(Wrapped(Residual(kind), 8, outputs))
    check(model, fold_channel_permutations, picture())
    left = types(model).count("Gather")
    assert left == {"own branch": 0, "shared": 1, "concat": 0, "per channel": 1}[kind]


def test_a_permutation_of_the_result_is_put_back():
    class Flipped(nn.Module):
        def forward(self, x):
            return torch.relu(x.flip(1) - 0.5)[:, [2, 0, 1]]

    image = picture()
    model = graph_of(Flipped())
    check(model, fold_channel_permutations, image)
    assert np.allclose(run(model, image), Flipped()(image).numpy())


@pytest.mark.parametrize("unit", [ShuffleUnit(32, 2), ShuffleUnit(32, 4)])
def test_a_shuffle_unit_has_no_permutation_left(unit):
    model = graph_of(lively(Wrapped(unit, 32)))
    fold_batch_norms(model)
    check(model, fold_channel_permutations, picture())
    assert not {"Transpose", "Gather", "Reshape"} & set(types(model))


def test_dense_weight_gives_the_grouped_result():
    x = torch.rand(1, 12, 5, 5)
    weight = torch.rand(8, 4, 3, 3)
    dense = torch.from_numpy(dense_weight(weight.numpy(), 1))
    assert torch.equal(dense, weight)
    grouped = torch.rand(6, 4, 3, 3)
    wide = torch.from_numpy(dense_weight(grouped.numpy(), 3))
    assert wide.shape == (6, 12, 3, 3)
    assert torch.allclose(F.conv2d(x, wide), F.conv2d(x, grouped, groups=3), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups", "changed"),
    [
        pytest.param(16, 2, 1, id="narrow groups"),
        pytest.param(32, 2, 0, id="groups of a block"),
        pytest.param(16, 16, 0, id="depth-wise"),
        pytest.param(16, 8, 0, id="too many groups"),
    ],
)
def test_grouped_convolutions_are_made_dense(channels, groups, changed):
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
    model = graph_of(Wrapped(conv, channels))
    assert check(model, make_grouped_convolutions_dense, picture()) == changed


class Concatenated(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(16, 3, 1)
        self.fuse = nn.Conv2d(16 + 3 + 3 + 16, 16, 3, padding=1)
        self.activation = activation

    def forward(self, x):
        narrow = self.narrow(x)
        parts = [x, narrow, -narrow, torch.tanh(x)]
        return self.activation(self.fuse(torch.cat(parts, 1)))


def test_convolutions_of_concats_are_split():
    model = graph_of(Wrapped(Concatenated(nn.ReLU()), 16))
    assert check(model, split_convolutions_of_concats, picture()) == 1
    assert types(model).count("Concat") == 1  # of the two narrow parts
    assert types(model).count("Conv") == 6


def test_convolutions_whose_activation_would_not_fuse_are_not_split():
    model = graph_of(Wrapped(Concatenated(nn.LeakyReLU(0.2)), 16))
    assert check(model, split_convolutions_of_concats, picture()) == 0


@pytest.mark.parametrize(
    ("sizes", "height", "width"),
    [
        pytest.param("24x18", 18, 24, id="even"),
        pytest.param("23x17", 17, 23, id="odd"),
        pytest.param("8x8,24x18,32x32", 18, 24, id="dynamic"),
        pytest.param("8x8,24x18,32x32", 9, 31, id="dynamic odd"),
    ],
)
def test_thin_convolutions_are_widened(sizes, height, width):
    network = Wrapped(nn.Conv2d(16, 16, 1), 16)
    model = graph_of(network, sizes)
    assert check(model, widen_thin_convolutions, picture(height, width)) == 1
    assert "DepthToSpace" in types(model)


def test_all_passes_together_keep_qsnet():
    network = lively(QSNet())
    image = picture()
    model = graph_of(network)
    counts = optimize(model, "any")
    assert list(counts) == list(PASSES)
    with torch.inference_mode():
        assert np.abs(run(model, image) - network(image).numpy()).max() < ATOL
    assert not {"BatchNormalization", "Transpose", "Gather"} & set(types(model))


def test_a_target_takes_only_what_was_measured_for_it():
    model = graph_of(QSNet())
    counts = optimize(model, "tensorrt")
    assert "widen_thin_convolutions" not in counts
    assert "Transpose" not in types(model)
