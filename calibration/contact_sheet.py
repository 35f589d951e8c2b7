"""A contact sheet of the frames that were chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from derain.calibration.frame_store import StoredFrame
from derain.core.contact_sheet import contact_sheet

_WIDTH, _COLUMNS, _LETTERS = 240, 8, 38


def frames_sheet(frames: Sequence[StoredFrame]) -> NDArray[np.uint8]:
    """`frames`, each over its name, brightness and amount of rain.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    cells = [(_caption(frame)[-_LETTERS:], frame.rainy) for frame in frames]
    rows = [cells[k : k + _COLUMNS] for k in range(0, len(cells), _COLUMNS)]
    return contact_sheet(rows, _WIDTH)


def _caption(stored: StoredFrame) -> str:
    features = stored.features
    return f"{stored.name}: {features.brightness:.0f}, rain {features.rain:.2f}"
