"""GraNet: a coarse stage with region-aware attention, then a dense fine stage.

Yu, Huang, Zhang, Feng and Xiao, "Gradual Network for Single Image De-raining", MM 2019.
The paper's: regions 1, 2, 4, the skips around the unpools (eq. 4), the embedded
Gaussian non-local (eq. 6), the merging block with k = 4 (eq. 8). Not published, and
ours: 32 channels and growth 16 (half of NLEDN's), the 3x3 with ReLU behind each
non-local.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.models.networks.layers import require_multiple
from derain.models.operators import region_non_local, unpool_by_indices

MULTIPLE = 16  # three pools, and one more inside the attention
REGIONS = (1, 2, 4)
MERGED = 4  # pictures whose mean is the result


class DenseBlock(nn.Module):
    """Four densely connected convolutions, a 1x1 over all of them, and the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(channels + growth * k, growth, 3, padding=1) for k in range(4)
        )
        self.fuse = nn.Conv2d(channels + growth * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` in and out."""
        maps = [x]
        for layer in self.layers:
            maps.append(F.relu(layer(torch.cat(maps, dim=1))))
        fused: Tensor = self.fuse(torch.cat(maps, dim=1))
        return fused + x


class RegionAwareBlock(nn.Module):
    """Non-local attention in each of r x r regions (eq. 6), then a convolution.

    Args:
        channels: Width.
        regions: Regions along each axis.
    """

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__()
        self.regions = regions
        inner = channels // 2
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.z = nn.Conv2d(inner, channels, 1)
        assert self.z.bias is not None
        nn.init.zeros_(self.z.weight)
        nn.init.zeros_(self.z.bias)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` in and out; H and W multiples of twice the regions."""
        # Regions have even sides, so pooling the whole map pools each region.
        keys = F.max_pool2d(self.phi(x), 2)
        values = F.max_pool2d(self.g(x), 2)
        y = region_non_local(self.theta(x), keys, values, self.regions)
        return F.relu(self.conv(self.z(y) + x))


class GraNet(nn.Module):
    """Gradual network: 263,491 parameters, 172.8 kMAC per pixel of convolutions.

    Args:
        channels: Width everywhere but inside the dense blocks.
        growth: Channels that each layer of a dense block adds.
    """

    def __init__(self, channels: int = 32, growth: int = 16) -> None:
        super().__init__()
        self.coarse_in = nn.Conv2d(3, channels, 3, padding=1)
        self.encoders = nn.ModuleList(DenseBlock(channels, growth) for _ in range(3))
        self.attention = nn.ModuleList(RegionAwareBlock(channels, r) for r in REGIONS)
        self.mask = nn.Conv2d(channels, 3, 3, padding=1)
        self.fine_in = nn.Conv2d(3, channels, 3, padding=1)
        self.fine = nn.ModuleList(DenseBlock(channels, growth) for _ in range(3))
        self.aggregate = nn.Conv2d(3 + 4 * channels, 3 * MERGED, 3, padding=1)

    def coarse(self, rainy: Tensor) -> Tensor:
        """The picture after the coarse stage, `(N, 3, H, W)` in and out."""
        x = self.coarse_in(rainy)
        skips: list[tuple[Tensor, Tensor]] = []
        for encoder in self.encoders:
            level = encoder(x)
            x, indices = F.max_pool2d(level, 2, return_indices=True)
            skips.append((level, indices))
        for block in self.attention:
            level, indices = skips.pop()
            height, width = level.shape[-2:]
            x = unpool_by_indices(block(x), indices, height, width) + level
        rain: Tensor = self.mask(x)
        return rainy - rain

    def forward(self, rainy: Tensor) -> Tensor:
        """Remove rain from a batch of pictures.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]; H and W multiples of 16.

        Returns:
            The derained pictures, same shape and dtype, not clamped.

        Raises:
            ShapeError: H or W is not a multiple of 16. (At multiples of 8 the last row
                of keys would be dropped without a word.)
        """
        require_multiple(rainy, MULTIPLE, "GraNet")
        coarse = self.coarse(rainy)
        maps = [coarse, self.fine_in(coarse)]
        for block in self.fine:
            maps.append(block(maps[-1]))
        pictures: Tensor = self.aggregate(torch.cat(maps, dim=1))
        n, _, height, width = pictures.shape
        return pictures.reshape(n, MERGED, 3, height, width).mean(dim=1)
