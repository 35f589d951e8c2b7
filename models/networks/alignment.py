"""Where a scene was in the frame before, found without anything learnt.

Lucas and Kanade, "An Iterative Image Registration Technique with an Application to
Stereo Vision", IJCAI 1981, over a pyramid: at 1/16, 1/8 and 1/4 of the frame's size one
step each of

    flow -= inverse(G) b,   G = sum of (gx gx, gx gy; gx gy, gy gy) + DAMPING
                            b = sum of (gx d, gy d), d = before - frame

over windows of `WINDOW` pixels, all in plain operators (pooling, arithmetic, Resize and
GridSample). Rain is thin and falls anew in every frame: averages over 4x4 pixels and
windows hardly see it. Measured once with weights of Rivulet that had never seen a moved
frame: PSNR on Y in dB of what it derained, the frame before as it was / moved by this /
by OpenCV's affine ECC / by OpenCV's DIS flow, of NTURain's a1 and of five held-out
clips in the preset rain:

    a1                33.1   35.3   35.4   35.3
    davis-blackswan   32.1   32.9   32.7   32.6
    davis-goat        32.9   34.7   34.2   34.7
    camvid-0016E5     28.9   29.0   28.8   29.3
    carnd-white       35.8   36.0   36.0   35.4
    bgs-video         37.9   37.8   37.9   37.0

Three steps, or six; windows of 7, 9, 11 or 15: within 0.1 dB of each other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MULTIPLE_OF = 16  # of height and width: the coarsest level halves evenly
FINEST = 4  # pixels of the frame to one of the finest level, in which flow is found
LEVELS = 3
WINDOW = 9  # pixels of a level
SMOOTHING = 5  # pixels of a level, over which the found flow is averaged
DAMPING = 1e-3  # squared grey a pixel, greys in [0, 1]: where nothing is seen, no step
LONGEST_STEP = 1.5  # pixels of a level; a linear step is not right much beyond one


def flow_to(now: Tensor, before: Tensor) -> Tensor:
    """How far the scene has moved.

    Args:
        now: `(N, 1, H, W)` in [0, 1], one colour of a frame; H and W multiples of
            `MULTIPLE_OF`.
        before: The same of the frame before it.

    Returns:
        `(N, 2, H, W)` in pixels, x and y: what is at p in `now` was at p + flow in
        `before`; at most 42 pixels in each direction.
    """
    pyramid = [F.avg_pool2d(torch.cat([now, before], dim=1), FINEST)]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    flow: Tensor | None = None
    for level in reversed(pyramid):
        here, there = level[:, :1], level[:, 1:]
        if flow is None:
            step = _step(here, there)
        else:
            flow = 2.0 * _enlarged(flow, 2)
            step = flow + _step(here, warp(there, flow))
        flow = _averaged(step, SMOOTHING)
    assert flow is not None
    return FINEST * _enlarged(flow, FINEST)


def _step(now: Tensor, then: Tensor) -> Tensor:
    """One step of Lucas and Kanade, `(N, 2, h, w)` in pixels of this level."""
    middle = F.pad(0.5 * (now + then), (1, 1, 1, 1), mode="replicate")
    gx = 0.5 * (middle[:, :, 1:-1, 2:] - middle[:, :, 1:-1, :-2])
    gy = 0.5 * (middle[:, :, 2:, 1:-1] - middle[:, :, :-2, 1:-1])
    both, change = torch.cat([gx, gy], dim=1), then - now
    products = torch.cat([both * gx, gy * gy, both * change], dim=1)
    sums = _averaged(products, WINDOW)
    xx, xy, yy, xt, yt = (sums[:, k : k + 1] for k in range(5))
    xx, yy = xx + DAMPING, yy + DAMPING
    steps = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], dim=1)
    steps = steps / (xx * yy - xy * xy)
    return torch.clamp(steps, -LONGEST_STEP, LONGEST_STEP)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """`picture` as it is at p + `flow`, bilinear; beyond its border, the border.

    Args:
        picture: `(N, C, H, W)`.
        flow: `(N, 2, H, W)` in pixels, x and y.
    """
    height, width = picture.shape[2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + 0.5
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + 0.5
    grid = torch.stack(
        [
            flow[:, 0] * (2.0 / width) + (x * (2.0 / width) - 1.0),
            flow[:, 1] * (2.0 / height) + (y * (2.0 / height) - 1.0),
        ],
        dim=-1,
    )
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def _averaged(x: Tensor, side: int) -> Tensor:
    # Along rows, then along columns: on ONNX Runtime's processor a sixth of the time.
    for wide, high in ((side, 1), (1, side)):
        padding = (high // 2, wide // 2)
        x = F.avg_pool2d(x, (high, wide), 1, padding, count_include_pad=False)
    return x


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(
        x, scale_factor=float(factor), mode="bilinear", align_corners=False
    )
