"""How large a picture is by its header, before a decoder makes room for it.

A file of a megabyte may claim a thousand megapixels, and a decoder believes it.
"""

from __future__ import annotations

import struct
from typing import Literal

from derain.core.sizes import Size

_ByteOrder = Literal["big", "little"]
_TIFF_ORDERS: dict[bytes, _ByteOrder] = {b"II*\0": "little", b"MM\0*": "big"}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_BYTES = {3: 2, 4: 4}  # of a number, by its type
# Start-of-frame markers of JPEG: all from C0 to CF but tables and a reserved one.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def picture_size(content: bytes) -> Size | None:
    """Width and height of a BMP, JPEG, PNG, TIFF or WebP picture; None: it is none.

    Sources: PNG 1.2, 11.2.2; ITU T.81, B.1 and B.2; TIFF 6.0, section 2; RFC 9649, 2;
    Microsoft's BITMAPINFOHEADER.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _size(*struct.unpack_from(">II", content, 16))
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content)
        if content[:4] in _TIFF_ORDERS:
            return _tiff(content, _TIFF_ORDERS[content[:4]])
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp(content)
        if content.startswith(b"BM"):
            return _bmp(content)
    except (struct.error, IndexError):  # it ends within its header
        return None
    return None


def _size(width: int, height: int) -> Size | None:
    return Size(width, height) if width > 0 and height > 0 else None


def _jpeg(content: bytes) -> Size | None:
    position = 2
    while content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return _size(width, height)
        elif marker in _JPEG_ALONE:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    return None


def _tiff(content: bytes, order: _ByteOrder) -> Size | None:
    def number(position: int, count: int) -> int:
        if position + count > len(content):
            raise IndexError
        return int.from_bytes(content[position : position + count], order)

    place = number(4, 4)
    found = {}
    for entry in range(place + 2, place + 2 + 12 * number(place, 2), 12):
        count = _TIFF_BYTES.get(number(entry + 2, 2))
        if count is not None:
            found[number(entry, 2)] = number(entry + 8, count)
    return _size(found.get(_TIFF_WIDTH, 0), found.get(_TIFF_HEIGHT, 0))


def _webp(content: bytes) -> Size | None:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return _size(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return _size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        low, high, *rest = struct.unpack_from("<HBHB", content, 24)
        width, height = low | high << 16, rest[0] | rest[1] << 16
        return _size(width + 1, height + 1)
    return None


def _bmp(content: bytes) -> Size | None:
    if struct.unpack_from("<I", content, 14)[0] == 12:  # of OS/2
        width, height = struct.unpack_from("<HH", content, 18)
    else:
        width, height = struct.unpack_from("<ii", content, 18)
    return _size(abs(width), abs(height))
