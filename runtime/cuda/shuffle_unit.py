"""QSNet's unit as one kernel: what ``kernels/shuffle_unit.cu`` wants to be given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import ShapeError

SOURCE = Path(__file__).parent / "kernels" / "shuffle_unit.cu"
NAME = "shuffle_unit"


def defined(name: str) -> int:
    """A number that the source defines: ``TILE_WIDTH``, ``CHANNELS`` and others."""
    found = re.search(rf"^#define {name} (\d+)\b", SOURCE.read_text(), re.MULTILINE)
    if found is None:
        raise KeyError(name)
    return int(found[1])


def grid(batch: int, height: int, width: int) -> tuple[int, int, int]:
    """Blocks along x, y and z for maps `(batch, height, width, 32)`."""
    tiles = (
        -(-width // defined("TILE_WIDTH")),
        -(-height // defined("TILE_HEIGHT")),
    )
    return (*tiles, batch)


def shuffle_order() -> NDArray[np.int64]:
    """Which squeezed channel comes k-th after the shuffle, `(16,)`."""
    channels = np.arange(defined("MIDDLE"), dtype=np.int64)
    return channels.reshape(defined("GROUPS"), -1).T.flatten()


def pack_parameters(
    weights: Sequence[NDArray[np.floating]], biases: Sequence[NDArray[np.floating]]
) -> NDArray[np.float32]:
    """The parameters as the kernel reads them.

    Args:
        weights: Of the squeezing, the depth-wise and the expanding convolution, as
            PyTorch and ONNX keep them: `(16, 16, 1, 1)`, `(16, 1, 3, 3)` and
            `(32, 8, 1, 1)`, their BatchNorms folded in.
        biases: Of the same three: `(16,)`, `(16,)`, `(32,)`.

    Returns:
        `(720,)` float32.

    Raises:
        ShapeError: The unit has other widths than the kernel was written for.
    """
    channels, middle = defined("CHANNELS"), defined("MIDDLE")
    groups = defined("GROUPS")
    wanted = [
        (middle, channels // groups, 1, 1),
        (middle, 1, 3, 3),
        (channels, middle // groups, 1, 1),
    ]
    got = [weight.shape for weight in weights]
    if got != wanted or [len(b) for b in biases] != [middle, middle, channels]:
        raise ShapeError(f"{NAME}: got weights {got}, the kernel wants {wanted}")
    parts = [
        part.reshape(-1) for pair in zip(weights, biases, strict=True) for part in pair
    ]
    return np.concatenate(parts).astype(np.float32)
