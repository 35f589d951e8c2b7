"""Small look-alikes of published networks, for what of each kept them from export."""

import torch
import torch.nn.functional as F
from torch import nn
from torch._higher_order_ops.scan import scan


class Plain(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def rain(self, x):
        return 0.2 * self.last(torch.relu(self.first(x)))

    def forward(self, x):
        return x - self.rain(x)


class PReNetLike(Plain):
    """States made by ``.cuda()`` unless it is told otherwise; pictures in a list."""

    def __init__(self, recurrent_iter=2, use_GPU=True):  # noqa: N803
        super().__init__()
        self.iteration, self.use_GPU = recurrent_iter, use_GPU

    def forward(self, x):
        h = torch.zeros(x.size(0), 3, x.size(2), x.size(3))
        if self.use_GPU:
            h = h.cuda()
        stages = []
        for _ in range(self.iteration):
            h = 0.5 * h + self.rain(x)
            stages.append(x - h)
        return stages[-1], stages


class ResidualFirst(nn.Module):
    """A rain layer, a tenth of white, and then the picture without it."""

    def __init__(self, white_less_black=1.0):
        super().__init__()
        self.layer = 0.1 * white_less_black

    def forward(self, x):
        layer = torch.full_like(x, self.layer)
        return layer, x - layer


class NerdRainLike(Plain):
    """CUDA in the constructor and in forward, in every spelling; smaller pictures."""

    def __init__(self):
        super().__init__()
        self.device = torch.device("cuda:0")
        self.inner = nn.Conv2d(3, 3, 1).cuda()
        self.register_buffer("one", torch.ones(1, device="cuda"))

    def forward(self, x):
        grid = torch.arange(x.shape[-1], dtype=torch.float32).cuda() / x.shape[-1]
        grid = grid + torch.zeros(1, device=self.device) + torch.zeros(1).to("cuda")
        small = F.interpolate(self.inner(x), scale_factor=0.5)
        y = x - self.rain(x.to(self.device)) * grid.type(torch.cuda.FloatTensor)
        return [F.interpolate(x, scale_factor=0.25), small, y * self.one]


class JorderLike(Plain):
    """One argument for everything, as argparse makes it; in grey levels of 255."""

    def __init__(self, args):
        super().__init__(width=args.width)
        self.scale = args.scale[0]
        self.level = args.rain.level

    def forward(self, x):
        return x - self.level * 40 * torch.sigmoid(self.rain(x / 255)), x * self.scale


def make_model(args, parent=False):
    return JorderLike(args)


class NafLike(nn.Module):
    """Without arguments there is next to nothing of it."""

    def __init__(self, width=4, enc_blk_nums=()):
        super().__init__()
        blocks = [nn.Conv2d(3, width, 3, padding=1)]
        for count in enc_blk_nums:
            blocks += [nn.Conv2d(width, width, 3, padding=1) for _ in range(count)]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, x):
        return x + 0.1 * self.blocks(x)


class UmrlLike(Plain):
    """Two smaller copies besides, in -1 to 1; the picture is one of four outputs."""

    def forward(self, x, x_256, x_128):
        y = torch.tanh(x - self.rain(x))
        y = y + 0.1 * F.interpolate(x_256, scale_factor=2)
        y = y + 0.1 * F.interpolate(x_128, scale_factor=4)
        return self.rain(x)[:, :1], y, x_256, x_128


class KpnLike(Plain):
    """As EfficientDeRain: the picture twice."""

    def forward(self, data_with_est, data, white_level=1.0):
        return data - white_level * self.rain(data_with_est)


class NoiseMapLike(nn.Module):
    """As FastDVDnet: a window of three and a map of the noise."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(10, 3, 3, padding=1)

    def forward(self, x, noise_map):
        return x[:, 3:6] - 0.2 * self.conv(torch.cat([x, noise_map], 1))


class UNetLike(Plain):
    """Halves three times, and fails where that leaves a remainder."""

    def forward(self, x):
        y = x
        for _ in range(3):
            y = F.max_pool2d(y, 2)
        for _ in range(3):
            y = F.interpolate(y, scale_factor=2)
        return x - self.rain(x + y)


class Shrinks(Plain):
    """As ConvIR: reflects more of a shrunk picture than a small one has."""

    def __init__(self, more=40):
        super().__init__()
        self.more = more

    def forward(self, x):
        y = F.pad(F.avg_pool2d(x, 2), [self.more // 2] * 4, mode="reflect")
        return x - self.rain(x) - 0.1 * y.mean()


class ScanLike(nn.Module):
    """A recurrence over the rows, as SPANet's: a loop in the graph."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        self.weight = nn.Parameter(torch.full((1, 4, 1), 0.5))

    def forward(self, x):
        rows = self.first(x).permute(2, 0, 1, 3).contiguous()

        def step(carry, row):
            new = torch.relu(row + self.weight * carry)
            return new, new.clone()

        _, rows = scan(step, torch.zeros_like(rows[0]), rows, dim=0)
        return x - 0.1 * self.last(rows.permute(1, 2, 0, 3))


class Returns(Plain):
    """Something else than floats."""

    def __init__(self, dtype="float64"):
        super().__init__()
        self.dtype = getattr(torch, dtype)

    def forward(self, x):
        return super().forward(x).to(self.dtype)


class Interrupts(Plain):
    """Raises what is no Exception."""

    class Stop(BaseException):
        """Somebody's own."""

    def forward(self, x):
        raise self.Stop("enough")


class ByName(Plain):
    """Takes its picture by name alone."""

    def forward(self, *, image):
        return super().forward(image)
