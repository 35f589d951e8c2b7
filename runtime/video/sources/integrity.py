"""Whether a video file is all there, by the sizes that its own headers state.

A demuxer takes the end of a cut file for the end of the clip where the cut falls
between two packets, or where the container has no index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def missing_bytes(path: Path) -> int:
    """How many bytes are cut off the end of `path`; 0 where nothing tells of any.

    Understands MP4 and its kin, Matroska and WebM, AVI.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(64)
        if head.startswith(_EBML):
            end = _matroska_end(head)
        elif head.startswith(b"RIFF"):
            end = 8 + int.from_bytes(head[4:8], "little")
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
            end = max((box_end for _, box_end in iso_boxes(file)), default=0)
        else:
            end = 0
    return max(0, end - length)


def iso_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Type and end of each outermost box of an MP4 file; the last may end outside it.

    Source: ISO/IEC 14496-12, 4.2: a box is its size, its type and its content.
    """
    length = file.seek(0, os.SEEK_END)
    start = 0
    while start + 8 <= length:
        file.seek(start)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 0:  # up to the end of the file
            size = length - start
        elif size == 1:  # a 64-bit size follows
            size = int.from_bytes(header[8:16], "big")
        if size < 8:
            return
        start += size
        yield kind, start


def _matroska_end(head: bytes) -> int:
    """Where the segment ends; 0 where it was left open, as live recordings do.

    Source: RFC 8794, 4 and 5: an element is its id, its size and its content.
    """
    size, start = ebml_number(head, len(_EBML))
    segment = start + size
    if head[segment : segment + 4] != _SEGMENT:
        return 0
    size, start = ebml_number(head, segment + len(_SEGMENT))
    return start + size if size else 0


def ebml_number(head: bytes, start: int) -> tuple[int, int]:
    """The number at `start` (0: unknown) and where it ends; RFC 8794, 4."""
    if start >= len(head) or not head[start]:
        return 0, start
    length = 9 - head[start].bit_length()
    bits = 7 * length
    value = int.from_bytes(head[start : start + length], "big") & ((1 << bits) - 1)
    return (0 if value == (1 << bits) - 1 else value), start + length
