import pytest
import torch

from derain.core.errors import CheckpointError
from derain.training.perceptual import Perceptual

WIDTHS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}  # as in torchvision


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    state, inputs = {"classifier.0.bias": torch.zeros(1)}, 3
    for index, width in WIDTHS.items():
        state[f"features.{index}.weight"] = torch.randn(width, inputs, 3, 3) * 0.05
        state[f"features.{index}.bias"] = torch.zeros(width)
        inputs = width
    path = tmp_path / "vgg16.pth"
    torch.save(state, path)
    return path


def test_distance_of_features(checkpoint):
    distance = Perceptual(checkpoint)
    a, b = torch.rand(2, 1, 3, 16, 16)
    assert float(distance(a, a)) == 0.0
    assert float(distance(a, b)) > 0.0
    assert not any(p.requires_grad for p in distance.parameters())


@pytest.fixture
def one_channel(tmp_path):
    """Layers that hand on one channel: 1 R + 2 G + 4 B, then times 3, plus 0.5."""
    state, inputs = {}, 3
    for index, width in WIDTHS.items():
        kernel, bias = torch.zeros(width, inputs, 3, 3), torch.zeros(width)
        kernel[0, 0, 1, 1] = 1.0
        if index == 0:
            kernel[0, :, 1, 1] = torch.tensor([1.0, 2.0, 4.0])
        if index == 5:
            kernel[0, 0, 1, 1], bias[0] = 3.0, 0.5
        state[f"features.{index}.weight"] = kernel
        state[f"features.{index}.bias"] = bias
        inputs = width
    path = tmp_path / "vgg16.pth"
    torch.save(state, path)
    return path


def _grey(value):
    return torch.full((1, 3, 8, 8), value)


def _features_of_grey(value):
    """The mean and deviation of ImageNet's colours, as torchvision's weights want."""
    red = (value - 0.485) / 0.229
    green = (value - 0.456) / 0.224
    blue = (value - 0.406) / 0.225
    return 3 * (red + 2 * green + 4 * blue) + 0.5


def test_distance_by_hand(one_channel):
    got = Perceptual(one_channel)(_grey(0.9), _grey(0.6))
    # One of relu3_3's 256 channels differs, the others are zero.
    wanted = (_features_of_grey(0.9) - _features_of_grey(0.6)) / 256
    assert float(got) == pytest.approx(wanted, rel=1e-5)


def test_pools_and_rectifiers_by_hand(one_channel):
    image, clean = _grey(0.6), _grey(0.6)
    image[..., 1, 6] = 0.9  # the largest of its 4x4: a quarter of the features
    image[..., 4, 1] = 0.0  # never the largest
    got = Perceptual(one_channel)(image, clean)
    wanted = (_features_of_grey(0.9) - _features_of_grey(0.6)) / 256 / 4
    assert float(got) == pytest.approx(wanted, rel=1e-5)
    # Below zero before the first rectifier: only the bias of layer 5 is left.
    dark = Perceptual(one_channel)(_grey(0.0), _grey(0.6))
    assert float(dark) == pytest.approx((_features_of_grey(0.6) - 0.5) / 256, rel=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_checkpoint_of_something_else(tmp_path, content):
    path = tmp_path / "vgg16.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a VGG-16 checkpoint"):
        Perceptual(path)
