"""TreeFusion: dilated convolutions that share a kernel, fused by a tree.

Fu, Liang, Huang, Ding and Paisley, "A Deep Tree-Structured Fusion Model for Single
Image Deraining", 2018, arXiv:1811.08632. Everything is the paper's; 35,427 parameters
reproduce its count exactly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 16
BLOCKS = 8
DILATIONS = (1, 2, 3, 4)


class Fuse(nn.Module):
    """Two maps of one width become one: ``ReLU(conv1x1(cat[a, b]))``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """`(N, 16, H, W)` twice in, once out."""
        return F.relu(self.conv(torch.cat([a, b], dim=1)))


class DilatedBlock(nn.Module):
    """One kernel at four dilations, fused pairwise, and the block's input added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.fuse_near = Fuse()
        self.fuse_far = Fuse()
        self.fuse = Fuse()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 16, H, W)` in and out."""
        maps = [
            F.conv2d(x, self.conv.weight, self.conv.bias, padding=d, dilation=d)
            for d in DILATIONS
        ]
        near = self.fuse_near(maps[0], maps[1])
        far = self.fuse_far(maps[2], maps[3])
        return F.relu(self.fuse(near, far) + x)


class TreeFusion(nn.Module):
    """Deep tree-structured fusion model: about 90 kMAC per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(DilatedBlock() for _ in range(BLOCKS))
        # Levels of the tree over the blocks: four, two and one fusion.
        self.tree = nn.ModuleList(
            nn.ModuleList(Fuse() for _ in range(pairs)) for pairs in (4, 2, 1)
        )
        self.rain = nn.Conv2d(CHANNELS, 3, 1)

    def forward(self, rainy: Tensor) -> Tensor:
        """Remove rain from a batch of pictures.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]. Any H and W.

        Returns:
            The derained pictures, same shape and dtype, not clamped.
        """
        x = F.relu(self.stem(rainy))
        maps: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        for level in self.tree:
            assert isinstance(level, nn.ModuleList)
            maps = [fuse(maps[2 * k], maps[2 * k + 1]) for k, fuse in enumerate(level)]
        rain: Tensor = self.rain(maps[0])
        return rainy - rain
