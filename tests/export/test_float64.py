"""FP64 convolutions in bands are the convolutions they stand for."""

import pytest
import torch
from torch import nn

from derain.export import float64
from derain.export.float64 import BandedConvolutions, in_float64


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, 5, padding=(0, 3), stride=2, bias=False),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2),
        nn.Conv2d(4, 4, (1, 3), stride=(3, 1), groups=4),
        nn.Conv2d(4, 6, 3, padding="same"),
        nn.ConvTranspose2d(4, 6, 2, stride=2),
    ],
)
def test_bands_give_the_whole_result(convolution, monkeypatch):
    monkeypatch.setattr(float64, "_BAND_BYTES", 20_000)  # a few rows
    convolution = in_float64(convolution)
    x = torch.randn(2, 4, 37, 29, dtype=torch.float64)
    with torch.inference_mode():
        wanted = convolution(x)
        with BandedConvolutions():
            got = convolution(x)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_the_copy_leaves_the_network_alone():
    network = nn.Conv2d(3, 3, 3)
    assert in_float64(network).weight.dtype is torch.float64
    assert network.weight.dtype is torch.float32


def test_convolutions_are_seen_under_inference_mode(monkeypatch):
    seen = []
    right = float64._convolve
    monkeypatch.setattr(
        float64, "_convolve", lambda *args: seen.append(1) or right(*args)
    )
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    with torch.inference_mode(), BandedConvolutions():
        in_float64(nn.Conv2d(3, 4, 3, padding=1))(x)
    assert seen
