"""What several networks share."""

from __future__ import annotations

import torch
from torch import Tensor

from derain.core.errors import ShapeError


def require_multiple(image: Tensor, multiple: int, network: str) -> None:
    """Raise unless height and width of `image`, `(N, C, H, W)`, are such multiples.

    Raises:
        ShapeError: They are not; the picture has to be padded.
    """
    if torch.compiler.is_compiling():  # sizes may be symbols there
        return
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ShapeError(
            f"{network}: got a picture of {width}x{height}, wanted multiples of "
            f"{multiple}; pad it and crop the result"
        )
