"""Contact sheets: many pictures at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from derain.core.pairs import Picture

_NARROW = 300  # pixels; the text of narrower cells is smaller
_CAPTION = 22  # pixels under a picture for its text


def contact_sheet(
    rows: Sequence[Sequence[tuple[str, Picture]]], cell_width: int = 400
) -> Picture:
    """Pictures in rows, each over its caption.

    Args:
        rows: Captions and pictures, `(H, W, 3)` uint8 BGR of any size.
        cell_width: Width of every picture on the sheet; the height follows.

    Returns:
        The sheet, `(H, W, 3)` uint8 BGR.
    """
    lines = [[_cell(text, image, cell_width) for text, image in row] for row in rows]
    columns = max(len(line) for line in lines)
    sheet = []
    for line in lines:
        height = max(cell.shape[0] for cell in line)
        padded = [
            np.pad(c, ((0, height - c.shape[0]), (0, 0), (0, 0)), constant_values=255)
            for c in line
        ]
        blank = np.full((height, cell_width, 3), 255, np.uint8)
        sheet.append(np.hstack(padded + [blank] * (columns - len(line))))
    return np.vstack(sheet)


def _cell(text: str, image: Picture, width: int) -> Picture:
    height = max(round(image.shape[0] * width / image.shape[1]), 1)
    shrinks = width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(image, (width, height), interpolation=method)
    cell = np.full((height + _CAPTION, width, 3), 255, np.uint8)
    cell[:height] = small
    at = (4, height + _CAPTION - 7)
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = 0.35 if width < _NARROW else 0.45
    cv2.putText(cell, text, at, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
