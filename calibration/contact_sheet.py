"""A contact sheet of the frames that were chosen."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.calibration.frame_store import StoredFrame

_WIDTH, _COLUMNS, _CAPTION = 240, 8, 18


def contact_sheet(frames: Sequence[StoredFrame]) -> NDArray[np.uint8]:
    """`frames`, each over its name, brightness and amount of rain.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    cells = [_cell(frame) for frame in frames]
    columns = min(_COLUMNS, len(cells))
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    rows = [np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)]
    return np.vstack(rows)


def _cell(stored: StoredFrame) -> NDArray[np.uint8]:
    image = stored.rainy
    height = max(round(image.shape[0] * _WIDTH / image.shape[1]), 1)
    cell = np.full((height + _CAPTION, _WIDTH, 3), 255, np.uint8)
    cell[:height] = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    features = stored.features
    text = f"{stored.name}: {features.brightness:.0f}, rain {features.rain:.2f}"
    at = (3, height + _CAPTION - 5)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(cell, text[-38:], at, font, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
