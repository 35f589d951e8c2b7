"""StageWise: twelve passes of one small dense network, and a refinement.

Wang, Zhang, Su, Yao, Wang, Sun and Luo, "From Coarse to Fine: A Stage-Wise Deraining
Net", IEEE Access 2019. The paper's: LeakyReLU(0.2), twelve stages that share f, the
dense block and r, one 1x1 per stage, and the refinement without a skip (eq. 5). Ours:
where the activation stands (after every convolution except the last of a stage, the
outer 1x1s and the last of the refinement), and the refinement's last 1x1, 51 parameters
that make 17,356 of the published 17,305.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 16
LAYERS = 4  # of the dense block
SLOPE = 0.2


class StageWiseOutput(NamedTuple):
    """What training needs of one pass; every picture `(N, 3, H, W)`.

    Attributes:
        clean: The refined picture.
        rains: The rain layer R_t that each stage predicts.
    """

    clean: Tensor
    rains: tuple[Tensor, ...]


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class DilatedDenseBlock(nn.Module):
    """The densely connected dilated convolutions block (DCDCB)."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2**k, dilation=2**k)
            for k in range(LAYERS)
        )
        self.squeeze = nn.ModuleList(
            nn.Conv2d(CHANNELS * count, CHANNELS, 1) for count in range(2, LAYERS + 1)
        )
        self.fuse = nn.Conv2d(CHANNELS * (LAYERS + 1), CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 16, H, W)` in and out."""
        maps = [_activate(self.dilated[0](x)), x]  # the newest first, as concatenated
        for squeeze, dilated in zip(self.squeeze, self.dilated[1:], strict=True):
            y = _activate(squeeze(torch.cat(maps, dim=1)))
            maps.insert(0, _activate(dilated(y)))
        return _activate(self.fuse(torch.cat(maps, dim=1)))


class StageWise(nn.Module):
    """Stage-wise deraining net: 17,356 parameters, about 167 kMAC per pixel.

    Args:
        stages: Passes of the shared network; the paper uses 12.
    """

    def __init__(self, stages: int = 12) -> None:
        super().__init__()
        self.extract = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.outer = nn.ModuleList(
            nn.Conv2d(3 * count, 3, 1) for count in range(2, stages + 1)
        )
        self.dense = DilatedDenseBlock()
        self.rain = nn.Conv2d(CHANNELS, 3, 3, padding=1)
        self.refine = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(CHANNELS, 3, 1),
        )

    def stages(self, rainy: Tensor) -> StageWiseOutput:
        """One pass with everything the loss looks at.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]. Any H and W.
        """
        rains = [self._stage(rainy)]
        pictures = [rainy - rains[0], rainy]  # O_{t-1}, ..., O_0
        for outer in self.outer:
            rains.append(self._stage(outer(torch.cat(pictures, dim=1))))
            pictures.insert(0, rainy - rains[-1])
        return StageWiseOutput(self.refine(pictures[0]), tuple(rains))

    def forward(self, rainy: Tensor) -> Tensor:
        """Remove rain from a batch of pictures.

        Args:
            rainy: `(N, 3, H, W)` float, RGB in [0, 1]. Any H and W.

        Returns:
            The derained pictures, same shape and dtype, not clamped.
        """
        return self.stages(rainy).clean

    def _stage(self, u: Tensor) -> Tensor:
        rain: Tensor = self.rain(self.dense(_activate(self.extract(u))))
        return rain
