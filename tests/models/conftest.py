"""Plain implementations to compare with, and one thread."""

import pytest

pytest.importorskip("torch", reason="the networks need derain[export]")

import torch
import torch.nn.functional as F


@pytest.fixture(autouse=True)
def _threads():
    """One thread: tiny pictures are slower on many; put the number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _attend(theta, phi, g):
    """Embedded-Gaussian attention over a whole map, every matrix written out."""
    n, c, height, width = theta.shape
    scores = torch.matmul(
        theta.reshape(n, c, -1).transpose(1, 2), phi.reshape(n, c, -1)
    )
    y = torch.matmul(torch.softmax(scores, dim=2), g.reshape(n, c, -1).transpose(1, 2))
    return y.transpose(1, 2).reshape(n, c, height, width)


@pytest.fixture(scope="session")
def attention_by_chunks():
    """`region_non_local` as the authors' code cuts it: chunks of rows, then columns."""

    def attend(theta, phi, g, regions):
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

    return attend


@pytest.fixture(scope="session")
def convolve():
    """A convolution that keeps the size, by the name of its tensors in a state."""

    def convolve(state, name, x, dilation=1, groups=1):
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

    return convolve


@pytest.fixture(scope="session")
def randomized():
    """Gives a network weights none of which is zero, not even a last layer's."""

    def randomize(network, seed=0, gain=1.0):
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in network.named_parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 100
            values = gain * torch.randn(parameter.shape, generator=generator) / fan**0.5
            norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.data.copy_(values + 1 if norm else values)
        return network.eval()

    return randomize


@pytest.fixture(scope="session")
def picture():
    """A seeded picture batch, `(n, 3, height, width)` float32 in [0, 1]."""

    def picture(height, width, n=1, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n, 3, height, width, generator=generator)

    return picture
