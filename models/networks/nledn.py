"""NLEDN: an encoder-decoder of dense blocks with region-aware attention.

Li, He, Zhang, Chang, Dong and Lin, "Non-locally Enhanced Encoder-Decoder Network for
Single Image De-raining", MM 2018. Structure and parameter names are those of the
authors' checkpoints, which load strictly: rename nothing here. 1,005,379 parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.models.networks.layers import require_multiple
from derain.models.operators import region_non_local, unpool_by_indices

CHANNELS = 64
GROWTH = 32
LAYERS = 4
MULTIPLE = 16  # three pools, and one more inside the attention


class NonLocal(nn.Module):
    """Embedded-Gaussian non-local attention, ``W(y) + x``, without normalisation."""

    def __init__(self) -> None:
        super().__init__()
        inner = CHANNELS // 2
        pool = nn.MaxPool2d(2)
        self.g = nn.Sequential(nn.Conv2d(CHANNELS, inner, 1), pool)
        self.W = nn.Conv2d(inner, CHANNELS, 1)
        self.theta = nn.Conv2d(CHANNELS, inner, 1)
        self.phi = nn.Sequential(nn.Conv2d(CHANNELS, inner, 1), pool)

    def forward(self, x: Tensor, regions: int) -> Tensor:
        """`(N, 64, H, W)` in and out, attention in ``regions x regions`` regions."""
        y = region_non_local(self.theta(x), self.phi(x), self.g(x), regions)
        z: Tensor = self.W(y)
        return z + x


class RegionNonLocal(nn.Module):
    """Holds the non-local block where the authors' checkpoints look for it."""

    def __init__(self) -> None:
        super().__init__()
        self.non_local_block = NonLocal()


class EnhancedDenseBlock(nn.Module):
    """(R)NEDB: attention, four densely connected convolutions, a 1x1, and the input.

    Args:
        regions: Regions of the attention along each axis; 1 is the whole map, for which
            the checkpoints use another name.
    """

    def __init__(self, regions: int) -> None:
        super().__init__()
        self.regions = regions
        if regions > 1:
            self.region_non_local = RegionNonLocal()
        else:
            self.non_local = NonLocal()
        for k in range(LAYERS):
            layer = nn.Conv2d(CHANNELS + GROWTH * k, GROWTH, 3, padding=1)
            self.add_module(f"group_{k}", nn.Sequential(layer, nn.ReLU()))
        self.fusion = nn.Sequential(nn.Conv2d(CHANNELS + GROWTH * LAYERS, CHANNELS, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 64, H, W)` in and out."""
        whole = self.regions == 1
        block = self.non_local if whole else self.region_non_local.non_local_block
        maps = [block(x, self.regions)]
        for k in range(LAYERS):
            layer = self.get_submodule(f"group_{k}")
            maps.append(layer(torch.cat(maps, dim=1)))
        fused: Tensor = self.fusion(torch.cat(maps, dim=1))
        return fused + x


class NLEDN(nn.Module):
    """Non-locally enhanced encoder-decoder: 337.3 kMAC per pixel of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.up_1 = EnhancedDenseBlock(8)
        self.up_2 = EnhancedDenseBlock(4)
        self.up_3 = EnhancedDenseBlock(2)
        self.down_3 = EnhancedDenseBlock(1)
        self.down_2 = EnhancedDenseBlock(2)
        self.down_1 = EnhancedDenseBlock(4)
        self.down_2_fusion = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
        self.down_1_fusion = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
        self.fusion = nn.Sequential(
            nn.Conv2d(3 * CHANNELS, CHANNELS, 1),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        )
        self.final_conv = nn.Sequential(
            nn.Conv2d(CHANNELS, 3, 3, padding=1),
            nn.Tanh(),
        )

    def rain(self, rainy: Tensor) -> Tensor:
        """The rain layer, `(N, 3, H, W)` in [-1, 1]; train on ``rainy - rain``.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]; H and W multiples of 16.

        Raises:
            ShapeError: H or W is not a multiple of 16.
        """
        require_multiple(rainy, MULTIPLE, "NLEDN")
        shallow = self.conv1(rainy)
        features = self.conv2(shallow)
        up_1 = self.up_1(features)
        pooled_1, indices_1 = F.max_pool2d(up_1, 2, return_indices=True)
        up_2 = self.up_2(pooled_1)
        pooled_2, indices_2 = F.max_pool2d(up_2, 2, return_indices=True)
        up_3 = self.up_3(pooled_2)
        pooled_3, indices_3 = F.max_pool2d(up_3, 2, return_indices=True)
        x = _unpool(self.down_3(pooled_3), indices_3, up_3)
        x = self.down_2_fusion(torch.cat([pooled_2, x], dim=1))
        x = _unpool(self.down_2(x), indices_2, up_2)
        x = self.down_1_fusion(torch.cat([pooled_1, x], dim=1))
        x = _unpool(self.down_1(x), indices_1, up_1)
        x = self.fusion(torch.cat([features, x, up_1], dim=1)) + shallow
        rain: Tensor = self.final_conv(x)
        return rain

    def forward(self, rainy: Tensor) -> Tensor:
        """Remove rain from a batch of pictures.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]; H and W multiples of 16.

        Returns:
            The derained pictures in [0, 1], same shape and dtype.

        Raises:
            ShapeError: H or W is not a multiple of 16.
        """
        return (rainy - self.rain(rainy)).clamp(0, 1)


def _unpool(x: Tensor, indices: Tensor, like: Tensor) -> Tensor:
    result: Tensor = unpool_by_indices(x, indices, like.shape[2], like.shape[3])
    return result
