"""DCSFN: encoders and decoders at three scales, joined by recurrent units.

Wang, Xing, Wu, Su and Chen, "DCSFN: Deep Cross-scale Fusion Network for Single Image
Rain Removal", MM 2020. Structure, parameter names and defaults are those of the
authors' release, which differs from the paper's text; its checkpoints load strictly:
rename nothing here. The text's setting is
``DCSFN(channels=32, block_scales=(1, 2, 4))``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.core.errors import ShapeError

SCALES = (1, 2, 4)  # of the three encoders and decoders
MINIMUM = 32  # pixels: the fourth of a picture still divides by the largest pool
SLOPE = 0.2
CONVS = 4  # in a row, at each scale of a block


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.LeakyReLU(SLOPE)
    )


def _resize(x: Tensor, like: Tensor) -> Tensor:
    """Nearest neighbour to the height and width of `like`, up or down."""
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")


class CrossScaleBlock(nn.Module):
    """One unit: convolutions on max-pooled copies, coarse to fine, and the input.

    Args:
        channels: Width.
        scales: Pool sizes, 1 first; each fuses what the next coarser one gives.
    """

    def __init__(self, channels: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        for scale in self.scales:
            convs = (_conv(channels, channels) for _ in range(CONVS))
            self.add_module(f"scale{scale}", nn.Sequential(*convs))
        for fine, coarse in zip(self.scales, self.scales[1:], strict=False):
            fusion = _conv(2 * channels, channels, kernel=1)
            self.add_module(f"fusion{coarse}{fine}", fusion)
        self.fusion_all = _conv(len(self.scales) * channels, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` in and out; H and W at least the largest scale."""
        results: list[Tensor] = []  # fine to coarse
        for k in reversed(range(len(self.scales))):
            scale = self.scales[k]
            y = x if scale == 1 else F.max_pool2d(x, scale, scale)
            if results:
                fusion = self.get_submodule(f"fusion{self.scales[k + 1]}{scale}")
                y = fusion(torch.cat([y, _resize(results[0], y)], dim=1))
            results.insert(0, self.get_submodule(f"scale{scale}")(y))
        maps = [results[0], *(_resize(y, x) for y in results[1:])]
        fused: Tensor = self.fusion_all(torch.cat(maps, dim=1))
        return fused + x


class Coder(nn.Module):
    """An encoder or a decoder: units, each read together with all before it.

    Args:
        channels: Width.
        units: How many (L in the paper).
        scales: Scales of each unit.
    """

    def __init__(self, channels: int, units: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            CrossScaleBlock(channels, scales) for _ in range(units)
        )
        self.conv1x1 = nn.ModuleList(
            _conv((k + 2) * channels, channels, kernel=1) for k in range(units)
        )

    def forward(
        self, x: Tensor, skips: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """`(N, channels, H, W)` -> the same, and what each unit gave.

        Args:
            x: The input.
            skips: For a decoder, what the encoder's units gave: added in front of its
                own. Emptied on the way, so that a large picture's maps are freed.
        """
        maps, out = [x], x
        features: list[Tensor] = []
        for unit, conv in zip(self.units, self.conv1x1, strict=True):
            features.append(unit(out if skips is None else out + skips.pop(0)))
            maps.append(features[-1])
            out = conv(torch.cat(maps, dim=1))
        return out, features


class ConvGRU(nn.Module):
    """A gated recurrent unit across scales; its activated state is its output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("xz", "xr", "xn", "hz", "hr", "hn"):
            conv = nn.Conv2d(channels, channels, 3, padding=1)
            self.add_module(f"conv_{name}", conv)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """`(N, channels, H, W)`, and the state alike, -> the new state."""

        def conv(name: str, value: Tensor) -> Tensor:
            result: Tensor = self.get_submodule(f"conv_{name}")(value)
            return result

        if state is None:
            hidden = torch.sigmoid(conv("xz", x)) * torch.tanh(conv("xn", x))
        else:
            z = torch.sigmoid(conv("xz", x) + conv("hz", state))
            r = torch.sigmoid(conv("xr", x) + conv("hr", state))
            n = torch.tanh(conv("xn", x) + conv("hn", r * state))
            hidden = (1 - z) * state + z * n
        return F.leaky_relu(hidden, SLOPE)


class DCSFN(nn.Module):
    """Deep cross-scale fusion network: 6,453,147 parameters, 73.2 GMAC at 256x256.

    Args:
        channels: Width; 20 in the release.
        units: Units of each encoder and decoder.
        block_scales: Scales inside a unit; (1, 2, 4, 8) in the release.
    """

    def __init__(
        self,
        channels: int = 20,
        units: int = 16,
        block_scales: Sequence[int] = (1, 2, 4, 8),
    ) -> None:
        super().__init__()
        self.convert = _conv(3, channels)
        for scale in SCALES:
            for kind in ("encoder", "decoder"):
                coder = Coder(channels, units, block_scales)
                self.add_module(f"{kind}_scale{scale}", coder)
            for turn in (1, 2):
                self.add_module(f"rec{turn}_{scale}", ConvGRU(channels))
        # The two whose name ends in 2 belong to another recurrent unit of the release.
        for name in ("1_2_1", "1_2_2", "2_2_1", "2_2_2"):
            self.add_module(f"fusion_{name}", _conv(2 * channels, channels, kernel=1))
        self.merge = nn.Sequential(
            nn.Conv2d(3 * channels, 3, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(3, 3, 3, padding=1),
        )

    def forward(self, rainy: Tensor) -> Tensor:
        """Remove rain from a batch of pictures.

        Args:
            rainy: `(N, 3, H, W)` float, **BGR** in [0, 1]; H and W at least 32.

        Returns:
            The derained pictures, BGR, same shape and dtype, not clamped.

        Raises:
            ShapeError: H or W is below 32.
        """
        if not torch.compiler.is_compiling() and min(rainy.shape[-2:]) < MINIMUM:
            raise ShapeError(
                f"DCSFN: got a picture of {rainy.shape[-1]}x{rainy.shape[-2]}, wanted "
                f"at least {MINIMUM}x{MINIMUM}; pad it and crop the result"
            )
        return rainy - self._rain(rainy)

    def _rain(self, rainy: Tensor) -> Tensor:
        full = self.convert(rainy)
        half, quarter = F.max_pool2d(full, 2, 2), F.max_pool2d(full, 4, 4)
        encoded, skips = {}, {}
        for scale, x in zip(SCALES, (full, half, quarter), strict=True):
            encoded[scale], skips[scale] = self._module(f"encoder_scale{scale}")(x)

        h4 = self._module("rec1_4")(encoded[4])
        h2 = self._module("rec1_2")(encoded[2], _resize(h4, encoded[2]))
        both = torch.cat([_resize(h2, encoded[1]), _resize(h4, encoded[1])], dim=1)
        h1 = self._module("rec1_1")(encoded[1], self._module("fusion_1_2_1")(both))
        g1 = self._module("rec2_1")(h1)
        g2 = self._module("rec2_2")(h2, _resize(g1, h2))
        both = torch.cat([_resize(g1, h4), _resize(g2, h4)], dim=1)
        g4 = self._module("rec2_4")(h4, self._module("fusion_2_2_1")(both))

        decoded: list[Tensor] = []
        for scale, x in zip(SCALES, (g1, g2, g4), strict=True):
            out, _ = self._module(f"decoder_scale{scale}")(x, skips[scale])
            decoded.append(_resize(out, rainy) if decoded else out)
        rain: Tensor = self.merge(torch.cat(decoded, dim=1))
        return rain

    def _module(self, name: str) -> nn.Module:
        return self.get_submodule(name)
