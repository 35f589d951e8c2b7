"""QSNet: a ShuffleNet encoder, five scale heads, five auxiliary decoders and one main.

"Multi-Decoding Deraining Network and Quasi-Sparsity Based Training", CVPR 2021
(arXiv:1812.08348). The number and kind of the units, the dilation rates and sharing by
channel shuffle are the paper's. The widths are not published; ours are 32 channels in 2
groups, and every last convolution starts at zero, so that training starts at the
identity. The paper's text calls an auxiliary output a rain-free image and its eq. 12
treats it as rain; here it is rain, and the image less the rain is what goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNITS = 12
DILATIONS = (1, 2, 4, 6)  # of the four atrous heads; the fifth head is pointwise


class QSNetOutput(NamedTuple):
    """What training needs of one pass; every picture `(N, 3, H, W)`.

    Attributes:
        clean: The derained picture, ``image - rain``.
        rain: The rain layer of the main decoder.
        auxiliary: The rain layers of the five auxiliary decoders.
    """

    clean: Tensor
    rain: Tensor
    auxiliary: tuple[Tensor, ...]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` equal groups; `(N, C, H, W)` in and out."""
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ConvNorm(nn.Sequential):
    """A convolution without bias and its BatchNorm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                inputs,
                outputs,
                kernel,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(outputs),
        )


def _last(inputs: int) -> nn.Conv2d:
    """The last convolution of a decoder, zero-initialised."""
    conv = nn.Conv2d(inputs, 3, 3, padding=1)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class ShuffleUnit(nn.Module):
    """A residual ShuffleNet unit: squeeze, shuffle, depth-wise, expand."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        middle = channels // 2
        self.squeeze = ConvNorm(channels, middle, kernel=1, groups=groups)
        self.depthwise = ConvNorm(middle, middle, groups=middle)
        self.expand = ConvNorm(middle, channels, kernel=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` in and out."""
        y = channel_shuffle(F.relu(self.squeeze(x)), self.groups)
        return F.relu(self.expand(self.depthwise(y)) + x)


class AuxiliaryDecoder(nn.Module):
    """One scale's own guess at the rain."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.mix = ConvNorm(channels, channels, kernel=1, groups=groups)
        self.last = _last(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` -> rain `(N, 3, H, W)`."""
        rain: Tensor = self.last(channel_shuffle(F.relu(self.mix(x)), self.groups))
        return rain


class QSNet(nn.Module):
    """Quasi-sparsity deraining network: 48,530 parameters, 46.1 kMAC per pixel.

    Args:
        channels: Width of the encoder and of every head.
        groups: Groups of the grouped convolutions.
    """

    def __init__(self, channels: int = 32, groups: int = 2) -> None:
        super().__init__()
        scales = 1 + len(DILATIONS)
        self.groups = groups
        self.stem = ConvNorm(3, channels)
        self.encoder = nn.Sequential(
            *(ShuffleUnit(channels, groups) for _ in range(UNITS))
        )
        self.heads = nn.ModuleList(
            [
                ConvNorm(channels, channels, kernel=1),
                *(
                    ConvNorm(channels, channels, groups=groups, dilation=dilation)
                    for dilation in DILATIONS
                ),
            ]
        )
        self.decoders = nn.ModuleList(
            AuxiliaryDecoder(channels, groups) for _ in range(scales)
        )
        self.gather = ConvNorm(scales * (channels + 3), channels, kernel=1)
        self.mix = ConvNorm(channels, channels, groups=groups)
        self.last = _last(channels)

    def decode(self, rainy: Tensor) -> QSNetOutput:
        """One pass with everything the loss looks at.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]. Any H and W.
        """
        encoded = self.encoder(F.relu(self.stem(rainy)))
        features = [F.relu(head(encoded)) for head in self.heads]
        auxiliary = tuple(
            decoder(x) for decoder, x in zip(self.decoders, features, strict=True)
        )
        shared = channel_shuffle(torch.cat(features, dim=1), len(features))
        images = [rainy - rain for rain in auxiliary]
        x = F.relu(self.gather(torch.cat([shared, *images], dim=1)))
        x = F.relu(self.mix(channel_shuffle(x, self.groups)))
        rain = self.last(x)
        return QSNetOutput(rainy - rain, rain, auxiliary)

    def forward(self, rainy: Tensor) -> Tensor:
        """Remove rain from a batch of pictures.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]. Any H and W.

        Returns:
            The derained pictures, same shape and dtype, not clamped.
        """
        return self.decode(rainy).clean
