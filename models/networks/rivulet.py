"""Rivulet: a causal derainer that looks back along the motion of the scene.

This project's own, not published. Rain is there in one frame and gone in the next, so
the frame before says what is behind a streak. Its green, and what was made of it, are
moved to where the scene is now (`derain.models.networks.alignment`, in which nothing is
learnt), and go with the frame through one convolution of 6x6 to half size and residual
blocks of plain 3x3 convolutions there. Out of these come the rain, which is taken off
the frame, and a gate: how much of what was made of the frame before takes its place.

How far to look back was chosen with an earlier design, which was fed frames as they had
come, unshuffled (each 2x2 block becomes 12 channels) and not moved, by short
experiments on a part of one processor core (48 channels, 10 + 2 convolutions unless
said; PSNR on Y over every fourth frame of NTURain's a1, whose rainy frames have 29.65
dB; in the design's first rain, then in thinner rain):

    one frame                                    18 + 12 minutes   31.93 dB
    two frames                                   18 + 20 minutes   32.90
    three frames                                 18 + 20 minutes   32.95
    two, and a gated hidden state of 16 channels  + 18 minutes     32.77
    two, 32 channels, 8 + 2 convolutions         15 minutes        32.91
    two, unshuffled 4x4, 64 channels, 12 + 2     12 minutes        29.88

How this one came about: 32 channels unless said, each row going on from the weights of
the one above. PSNR on Y of two clips that nobody trained on (DAVIS' blackswan and goat
in the preset rain, rainy 27.22 and 30.03 dB, frames 5 to 24); minutes of training on a
part of a processor core, of which the figures were taken shortly before the end;
milliseconds of one core at 640x360 on ONNX Runtime and
megabytes of an engine in FP16 at 1280x720 (TensorRT-RTX 1.7.1):

    two frames as they come, 4 blocks *     155 min  33.3   33.8 dB  111 ms  397 MB
    the frame before moved (OpenCV's ECC) *       0  34.0   35.5
    and what was made of it; 3 blocks            28  34.70  35.77    157     465
    green, 6x6 of stride 2, 2 blocks              9  34.45  35.33     88     350
    memories filled, flicker in the loss         13  34.55  35.51
    the gate                                     60  34.72  36.19     94     362
    48 channels, the gate                        60  34.73  36.28

    * of six frames of each clip
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.models.networks.alignment import flow_to, warp

BLOCK = 2  # side of the pixel block that becomes channels
SEEN = 3 + 1 + 3  # channels: the frame, green of the one before, what was made of that
RESIDUAL_SCALE = 0.1  # of a residual branch at the start: blocks begin near identity
FIRST_KEPT = -4.0  # logit of what is kept of the frame before at the start: 2 %
LAST_SCALE = 0.01  # of the last layer at the start: the network begins as "no rain"


class Rivulet(nn.Module):
    """`(frame, previous, before)` -> `(derained, green, derained)`.

    Pictures are `(N, 3, H, W)` RGB in [0, 1]; height and width multiples of
    `alignment.MULTIPLE_OF`. The states are the green of the frame before, `(N, 1, H,
    W)`, and what was made of it, all zeros at the start of a stream, with which the
    network is trained. The result is not clipped.
    """

    def __init__(self, channels: int = 48, blocks: int = 2) -> None:
        """Build the network.

        Args:
            channels: Width of the trunk.
            blocks: Residual blocks of two convolutions each.
        """
        super().__init__()
        pixels = (3 + 1) * BLOCK**2
        self.channels, self.blocks = channels, blocks
        # A 3x3 convolution of unshuffled pixels, in one step.
        self.stem = nn.Conv2d(SEEN, channels, 3 * BLOCK, stride=BLOCK, padding=BLOCK)
        self.body = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2 * blocks)
        )
        self.last = nn.Conv2d(channels, pixels, 3, padding=1)  # rain, and what to keep
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for second in list(self.body)[1::2]:
                cast(nn.Conv2d, second).weight.mul_(RESIDUAL_SCALE)
            self.last.weight.mul_(LAST_SCALE)
            cast(Tensor, self.last.bias)[-(BLOCK**2) :] = FIRST_KEPT

    def states(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Shapes of the green before and of what was made of it, for this size."""
        return [(1, 1, height, width), (1, 3, height, width)]

    def forward(
        self, frame: Tensor, previous: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take the rain off `frame`.

        Args:
            frame: `(N, 3, H, W)` RGB in [0, 1], the current frame.
            previous: `(N, 1, H, W)` in [0, 1], the green of the frame before, or zeros.
            before: `(N, 3, H, W)`, what was made of that, or zeros.

        Returns:
            The derained frame, then the states: the green of `frame` and, again, the
            derained frame.
        """
        # Rain has no colour; green is most of what an eye sees, and of a sensor.
        green = frame[:, 1:2]
        flow = flow_to(green, previous)
        past = warp(torch.cat([previous, before], dim=1), flow)
        y = F.relu(self.stem(torch.cat([frame, past], dim=1)))
        for first, second in zip(self.body[::2], self.body[1::2], strict=True):
            y = y + second(F.relu(first(y)))
        y = F.pixel_shuffle(self.last(F.relu(y)), BLOCK)
        derained = frame - y[:, :3]
        derained = derained + torch.sigmoid(y[:, 3:]) * (past[:, 1:] - derained)
        return derained, green, derained


class RivuletS(Rivulet):
    """The small one: 32 channels."""

    def __init__(self) -> None:
        super().__init__(channels=32)
