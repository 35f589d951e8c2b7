"""Small look-alikes of other people's networks with a memory, with lively weights."""

import torch
import torch.nn.functional as F
from torch import nn


class FastDvdNetLike(nn.Module):
    """A window of five as `(N, 15, H, W)`: blocks of three frames, twice."""

    def __init__(self):
        super().__init__()
        self.first = self._block()
        self.second = self._block()

    @staticmethod
    def _block():
        return nn.Sequential(
            nn.Conv2d(9, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, x):
        frames = x.split(3, 1)
        middle = [
            frames[k + 1] - self.first(torch.cat(frames[k : k + 3], 1))
            for k in range(3)
        ]
        return middle[1] - self.second(torch.cat(middle, 1))


class S2vdLike(nn.Module):
    """3-D convolutions without bias over a window of five, `(N, 3, T, H, W)`."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv3d(12, 8, (3, 3, 3), padding=(0, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(8)
        self.body = nn.Conv3d(8, 8, (3, 3, 3), padding=(0, 1, 1), bias=False)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        n, _, t, h, w = x.shape
        if t != 5:
            raise ValueError(f"{t} frames, wanted 5")
        small = F.pixel_unshuffle(x.transpose(1, 2).reshape(n * t, 3, h, w), 2)
        small = small.reshape(n, t, 12, h // 2, w // 2).transpose(1, 2)
        y = F.relu(self.norm(self.head(small)))
        y = F.relu(self.body(y))[:, :, 0]
        return x[:, :, 2] - F.pixel_shuffle(self.tail(y), 2)


class EdvrLike(nn.Module):
    """A window as `(N, T, 3, H, W)`, weighted by likeness to the middle frame."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        n, t, c, h, w = x.shape
        y = self.features(x.reshape(n * t, c, h, w)).reshape(n, t, 8, h, w)
        middle = y[:, t // 2 : t // 2 + 1]
        weight = torch.sigmoid((y * middle).sum(2, keepdim=True))
        return x[:, t // 2] - self.last((y * weight).mean(1))


class ThreeArguments(nn.Module):
    """A window as three arguments, all of them in the past."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(9, 3, 3, padding=1)

    def forward(self, oldest, old, new):
        return new - 0.3 * self.conv(torch.cat([oldest, old, new], 1))


class ConvGru(nn.Module):
    """As in RobustVideoMatting: half of the channels are remembered."""

    def __init__(self, channels):
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.new = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x, h):
        r, z = self.gates(torch.cat([x, h], 1)).sigmoid().chunk(2, 1)
        c = torch.tanh(self.new(torch.cat([x, r * h], 1)))
        return (1 - z) * h + z * c


class RvmLike(nn.Module):
    """Four recurrent states at different scales, in frames of a multiple of 16."""

    CHANNELS = (4, 6, 8, 10)

    def __init__(self):
        super().__init__()
        c = self.CHANNELS
        down = zip((3, *c[:-1]), c, strict=True)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in down)
        self.gru = nn.ModuleList(ConvGru(n) for n in c)
        up = zip(c[1:], c[:-1], strict=True)
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in up)
        self.last = nn.Conv2d(c[0], 3, 3, padding=1)

    def states(self, height, width):
        return [(1, n, height >> k, width >> k) for k, n in enumerate(self.CHANNELS, 1)]

    def forward(self, x, r1=None, r2=None, r3=None, r4=None):
        features = [x]
        for layer in self.down:
            features.append(torch.relu(layer(features[-1])))
        states = [r1, r2, r3, r4]
        new = [None] * 4
        y = new[3] = self.gru[3](features[4], states[3])
        for k in (2, 1, 0):
            y = F.interpolate(y, scale_factor=2, mode="bilinear")
            y = features[k + 1] + self.up[k](y)
            y = new[k] = self.gru[k](y, states[k])
        rain = self.last(F.interpolate(y, scale_factor=2, mode="bilinear"))
        return x - rain, *new


class RlspLike(nn.Module):
    """The last picture and a hidden state at half size; shapes by an attribute."""

    states = ((1, 3, "height", "width"), (1, 12, "height/2", "width/2"))

    def __init__(self):
        super().__init__()
        self.cell = nn.Conv2d(12 + 12 + 12, 16, 3, padding=1)
        self.hidden = nn.Conv2d(16, 12, 3, padding=1)
        self.last = nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x, picture, hidden):
        seen = [F.pixel_unshuffle(x, 2), F.pixel_unshuffle(picture, 2), hidden]
        y = torch.relu(self.cell(torch.cat(seen, 1)))
        derained = x - F.pixel_shuffle(self.last(y), 2)
        return derained, derained, torch.relu(self.hidden(y))


class BsvdLike(nn.Module):
    """Features shifted from the frame before by a buffer, and one frame of delay."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def states(self, height, width):
        return [(1, 3, height, width), (1, 8, height, width), (1, 2, height, width)]

    def forward(self, x, frame, features, shifted):
        y = torch.relu(self.norm(self.first(x)))
        # The middle one sees channels of the frame behind it and of that before it.
        mixed = torch.cat([y[:, :2], shifted, features[:, 4:]], 1)
        rain = self.last(torch.relu(self.middle(mixed)))
        return frame - rain, x, y, features[:, :2]


def lively(network):
    """Weights and statistics that are the same each time, and none of them neutral."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point() and tensor.ndim < 2:
            tensor.uniform_(-0.2, 0.2, generator=generator)
            if name.endswith(".weight"):
                tensor += 1
        elif tensor.is_floating_point():
            spread = (2 / tensor[0].numel()) ** 0.5
            tensor.normal_(0, 0.7 * spread, generator=generator)
    return network.eval()
