"""PyTorch in FP64: the exact picture, to tell rounding from a wrong graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_BAND_BYTES = 64 * 2**20


def in_float64(network: nn.Module) -> nn.Module:
    """A copy of `network` that rounds half a billion times more finely."""
    return copy.deepcopy(network).double()


class BandedConvolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, FP64 convolutions run in bands of rows.

    PyTorch has nothing for them but a matrix of all windows: a frame of 1280x720 took
    GraNet 11.3 GB and 145 s with it, and takes 3.9 GB and 94 s in bands (two cores).
    """

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, a convolution of pictures band by band."""
        # Under inference_mode, a convolution of pictures arrives as it was called.
        if func is torch.ops.aten.conv2d.default and args[0].dtype is torch.float64:
            return _convolve(*args)
        return func(*args, **(kwargs or {}))


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    (down, *_, right), (step, *_) = padding, stride
    x = F.pad(x, (right, right, down, down))
    reach = dilation[0] * (weight.shape[2] - 1) + 1
    rows = (x.shape[2] - reach) // step + 1
    window = weight[0].numel() * groups * x.shape[0] * x.shape[3] * x.element_size()
    band = max(1, _BAND_BYTES // window)
    convolve = torch.ops.aten.conv2d.default
    parts = [
        convolve(
            x[:, :, a * step : (min(a + band, rows) - 1) * step + reach],
            *(weight, bias, stride, (0, 0), dilation, groups),
        )
        for a in range(0, rows, band)
    ]
    return torch.cat(parts, dim=2)
