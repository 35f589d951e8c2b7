"""PyTorch's second opinion: the same network in FP32 with other convolution kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_BAND_BYTES = 64 * 2**20


@contextlib.contextmanager
def other_kernels() -> Iterator[None]:
    """While active, PyTorch is in inference mode and convolutions run without oneDNN.

    A matrix product over all windows adds in another order, and rounds as correctly.
    In bands of rows, since the matrix would take gigabytes.
    """
    before = torch.backends.mkldnn.enabled
    # Not flags(), which sets TF32 on the way and warns that there is no Intel GPU.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with torch.inference_mode(), BandedConvolutions():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.backends.mkldnn.enabled = before


class BandedConvolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, convolutions of pictures run in bands of rows."""

    supports_higher_order_operators = True  # loops: what is inside is left alone

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, a convolution band by band."""
        # Under inference_mode, a convolution arrives as it was called.
        if func is torch.ops.aten.conv2d.default:
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
    if weight.shape[1] == 1 and groups > 1:
        return _convolve_depthwise(x, weight, bias, stride, dilation)
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


def _convolve_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Of `x`, padded, tap by tap.

    A matrix product for each of the groups takes 30 to 100 times as long as oneDNN, and
    was nine tenths of DRSformer's export.
    """
    (down, *_, right), (far, *_, wide) = stride, dilation
    rows = (x.shape[2] - far * (weight.shape[2] - 1) - 1) // down + 1
    columns = (x.shape[3] - wide * (weight.shape[3] - 1) - 1) // right + 1
    x = x.repeat_interleave(weight.shape[0] // x.shape[1], dim=1)
    total = x.new_zeros(x.shape[0], weight.shape[0], rows, columns)
    for a in range(weight.shape[2]):
        for b in range(weight.shape[3]):
            top, left = a * far, b * wide
            part = x[
                :,
                :,
                top : top + (rows - 1) * down + 1 : down,
                left : left + (columns - 1) * right + 1 : right,
            ]
            total += part * weight[:, 0, a, b].view(1, -1, 1, 1)
    return total if bias is None else total + bias.view(1, -1, 1, 1)
