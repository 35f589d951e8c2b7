"""Plain implementations to compare networks with, weights and pictures for them."""

import torch
import torch.nn.functional as F


def _attend(theta, phi, g):
    """Embedded-Gaussian attention over a whole map, every matrix written out."""
    n, c, height, width = theta.shape
    scores = torch.matmul(
        theta.reshape(n, c, -1).transpose(1, 2), phi.reshape(n, c, -1)
    )
    y = torch.matmul(torch.softmax(scores, dim=2), g.reshape(n, c, -1).transpose(1, 2))
    return y.transpose(1, 2).reshape(n, c, height, width)


def attention_by_chunks(theta, phi, g, regions):
    """`region_non_local` as the authors' code cuts it: chunks of rows, then columns."""
    rows = [x.chunk(regions, dim=2) for x in (theta, phi, g)]
    return torch.cat(
        [
            torch.cat(
                [
                    _attend(*cells)
                    for cells in zip(
                        *(x.chunk(regions, dim=3) for x in row), strict=True
                    )
                ],
                dim=3,
            )
            for row in zip(*rows, strict=True)
        ],
        dim=2,
    )


def convolve(state, name, x, dilation=1, groups=1):
    """A convolution that keeps the size, by the name of its tensors in a state."""
    weight = state[f"{name}.weight"]
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(
        x,
        weight,
        state.get(f"{name}.bias"),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def randomized(network, seed=0, gain=1.0):
    """Gives a network weights none of which is zero, not even a last layer's."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 100
        values = gain * torch.randn(parameter.shape, generator=generator) / fan**0.5
        norm = parameter.ndim == 1 and name.endswith("weight")
        parameter.data.copy_(values + 1 if norm else values)
    return network.eval()


def picture(height, width, n=1, seed=0):
    """A seeded picture batch, `(n, 3, height, width)` float32 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, height, width, generator=generator)
