"""PyTorch's other kernels give the same convolutions, but for rounding."""

import pytest
import torch
from torch import nn

from derain.export import noise_floor as module
from derain.export.noise_floor import BandedConvolutions, other_kernels
from support import published_networks


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
    monkeypatch.setattr(module, "_BAND_BYTES", 20_000)  # a few rows
    x = torch.randn(2, 4, 37, 29, dtype=torch.float64)
    convolution = convolution.double()
    with torch.inference_mode():
        wanted = convolution(x)
        with BandedConvolutions():
            got = convolution(x)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_they_round_in_another_way_and_only_while_active():
    x, convolution = torch.randn(1, 64, 40, 40), nn.Conv2d(64, 8, 3, padding=1)
    with torch.inference_mode():
        usual = convolution(x)
        with other_kernels():
            other = convolution(x)
        assert torch.equal(convolution(x), usual)
    assert not torch.equal(other, usual)
    torch.testing.assert_close(other, usual)


def test_a_loop_goes_through_them():
    """What is inside a higher-order operator is left alone, and not refused."""
    network, x = published_networks.ScanLike().eval(), torch.rand(1, 3, 32, 40)
    with torch.inference_mode():
        usual = network(x)
    with other_kernels():
        other = network(x)
    torch.testing.assert_close(other, usual)
