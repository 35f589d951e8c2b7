"""The moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` by 1 - `decay` of the way to `model`; integers are copied."""
    theirs, ours = model.state_dict(), average.state_dict()
    floats = [name for name, x in ours.items() if x.is_floating_point()]
    torch._foreach_lerp_(
        [ours[name] for name in floats],
        [theirs[name] for name in floats],
        1.0 - decay,
    )
    for name in ours.keys() - set(floats):
        ours[name].copy_(theirs[name])
