"""Whether an ONNX file has tensors in other files, seen without the onnx package.

Backends open such files by the path that the model names, and nobody has hashed them.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Literal

_Message = Literal[
    "attribute", "function", "graph", "model", "node", "sparse", "tensor", "training"
]

# Fields that hold messages with tensors in them, by number. Source: onnx.proto.
_FIELDS: dict[_Message, dict[int, _Message]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GROUPS = (3, 4)  # which ONNX has none of


def has_external_data(path: Path) -> bool:
    """Whether the model at `path` would make a backend open another file.

    What is no ONNX file at all is left to the backend, which refuses it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _walk(content)
            except (IndexError, ValueError):  # it ends within a field
                return False


def _walk(content: mmap.mmap) -> bool:
    todo: list[tuple[_Message, int, int]] = [("model", 0, len(content))]
    while todo:
        message, position, end = todo.pop()
        while position < end:
            tag, position = _varint(content, position)
            number, wire = tag >> 3, tag & 7
            if wire in _GROUPS:
                return True
            if message == "tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION):
                location = _varint(content, position)[0]
                if number == _EXTERNAL_DATA or location:
                    return True
            if wire == _VARINT:
                position = _varint(content, position)[1]
            elif wire == _BYTES:
                length, position = _varint(content, position)
                if (inner := _FIELDS[message].get(number)) is not None:
                    todo.append((inner, position, min(position + length, end)))
                position += length
            elif wire in (_FIXED32, _FIXED64):
                position += 4 if wire == _FIXED32 else 8
            else:
                raise ValueError("no such wire type")
    return False


def _varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    """The number at `position`, and where it ends."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
