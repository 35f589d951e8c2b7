"""The two operators that keep deraining networks from TensorRT, as PyTorch operators.

A network calls them like functions; ``torch.export`` sees one node for each, which
`derain.export.operators` turns into one named ONNX node. Both have fake (shape-only)
and autograd implementations, so that they train, compile and export.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("derain::region_non_local", mutates_args=())
def region_non_local(theta: Tensor, phi: Tensor, g: Tensor, regions: int) -> Tensor:
    """Embedded-Gaussian attention inside each of ``regions x regions`` equal regions.

    ``y = softmax(theta . phi) g`` over the keys of one region, with no ``1/sqrt(d)``.
    The score matrix of a region never exists as a whole.

    Args:
        theta: Queries, `(N, C, H, W)` float; H and W are multiples of `regions`.
        phi: Keys, `(N, C, h, w)`; h and w too (2x2 max-pooled, they are H/2 and W/2).
        g: Values, `(N, C, h, w)`.
        regions: Regions along each axis; 1 attends over the whole map.

    Returns:
        `(N, C, H, W)`, same dtype.

    Raises:
        ValueError: A height or width is not a multiple of `regions`.

    Source:
        Wang et al., "Non-local Neural Networks", CVPR 2018, eq. 3 with the embedded
        Gaussian; the regions are those of Li et al., MM 2018, and Yu et al., MM 2019.
    """
    return _attend(theta, phi, g, regions)


@region_non_local.register_fake
def _(theta: Tensor, phi: Tensor, g: Tensor, regions: int) -> Tensor:
    return torch.empty_like(theta, memory_format=torch.contiguous_format)


def _attend(theta: Tensor, phi: Tensor, g: Tensor, regions: int) -> Tensor:
    _, _, height, width = theta.shape
    # PyTorch's fused attention works through the keys in blocks, forward and backward.
    attended = F.scaled_dot_product_attention(
        _cut(theta, regions), _cut(phi, regions), _cut(g, regions), scale=1.0
    )
    return _join(attended, regions, height, width)


def _cut(x: Tensor, regions: int) -> Tensor:
    """`(N, C, H, W)` -> `(N, regions^2, pixels of a region, C)`."""
    n, c, height, width = x.shape
    if height % regions or width % regions:
        raise ValueError(
            f"region_non_local: {height}x{width} does not divide into "
            f"{regions}x{regions} regions; pad the picture"
        )
    h, w = height // regions, width // regions
    x = x.reshape(n, c, regions, h, regions, w).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(n, regions * regions, h * w, c)


def _join(x: Tensor, regions: int, height: int, width: int) -> Tensor:
    """`(N, regions^2, pixels of a region, C)` -> `(N, C, height, width)`."""
    n, _, _, c = x.shape
    h, w = height // regions, width // regions
    x = x.reshape(n, regions, regions, h, w, c).permute(0, 5, 1, 3, 2, 4)
    # Of one region it would stay a view, and the fake result promises contiguous.
    return x.reshape(n, c, height, width).contiguous()


def _attend_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    theta, phi, g, ctx.regions = inputs
    ctx.save_for_backward(theta, phi, g)


def _attend_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # Recomputed rather than kept: the attention is cheap in memory only when fused.
    with torch.enable_grad():
        theta, phi, g = (x.detach().requires_grad_() for x in ctx.saved_tensors)
        inputs = (theta, phi, g)
        output = _attend(theta, phi, g, ctx.regions)
        grads = torch.autograd.grad(output, inputs, grad)
    return (*grads, None)


region_non_local.register_autograd(_attend_backward, setup_context=_attend_setup)


@torch.library.custom_op("derain::unpool_by_indices", mutates_args=())
def unpool_by_indices(x: Tensor, indices: Tensor, height: int, width: int) -> Tensor:
    """Put each value back where a 2x2 max pool took it from, zeros elsewhere.

    The same result as ``F.max_unpool2d(x, indices, 2, output_size=(height, width))``.

    Args:
        x: `(N, C, h, w)` float.
        indices: `(N, C, h, w)` int64, as ``F.max_pool2d(..., 2, return_indices=True)``
            gives them: positions in the flattened plane.
        height: Height of the result, that of the pool's input.
        width: Width of the result.

    Returns:
        `(N, C, height, width)`, dtype of `x`.
    """
    n, c, _, _ = x.shape
    flat = x.new_zeros(n, c, height * width)
    return flat.scatter_(2, indices.flatten(2), x.flatten(2)).view(n, c, height, width)


@unpool_by_indices.register_fake
def _(x: Tensor, indices: Tensor, height: int, width: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], height, width)


def _unpool_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _unpool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (indices,) = ctx.saved_tensors
    picked = grad.flatten(2).gather(2, indices.flatten(2)).view(indices.shape)
    return picked, None, None, None


unpool_by_indices.register_autograd(_unpool_backward, setup_context=_unpool_setup)
