import pytest
import torch

from derain.models.training.perceptual import Perceptual
from derain.runtime.errors import CheckpointError

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


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_checkpoint_of_something_else(tmp_path, content):
    path = tmp_path / "vgg16.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a VGG-16 checkpoint"):
        Perceptual(path)
