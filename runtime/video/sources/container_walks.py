"""Whether every part of a video file is where the part before it says that it is.

A demuxer that meets nonsense looks for the next thing it knows, and says nothing of
what it left out; and takes the end of a cut file for the end of the clip. Each walk
here goes over the headers alone. It reports what is certainly wrong, and is content
with what it does not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from derain.runtime.video.sources.integrity import ebml_number, missing_bytes


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a file.

    Attributes:
        text: What, for a message.
        is_cut: Whether its end is missing; False: something in its middle is.
    """

    text: str
    is_cut: bool


def find_flaw(path: Path) -> Flaw | None:
    """The first thing that is wrong with the file at `path`; None where nothing tells.

    Understands MP4 and its kin (their end alone), Matroska and WebM, AVI, FLV, GIF, ASF
    (WMV), transport and program streams of MPEG, Ogg and Y4M.

    Raises:
        OSError: It cannot be read.
    """
    if count := missing_bytes(path):
        return _cut(count)
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(1024)
        for matches, walk in _WALKS:
            if matches(head):
                return walk(file, length)
    return None


def _cut(count: int) -> Flaw:
    return Flaw(f"the last {count} bytes of the file are missing", is_cut=True)


def _torn(position: int) -> Flaw:
    return Flaw(f"what is at byte {position} makes no sense", is_cut=False)


def _at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


# What may be in a segment and in a cluster (RFC 9559, 5.1).
_CLUSTER = 0x1F43B675
_IN_SEGMENT = {
    *(_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B),
    *(0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF),
}
_IN_CLUSTER = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF}
_LONGEST_ELEMENT = 12  # bytes of an id and a size


def _matroska(file: BinaryIO, length: int) -> Flaw | None:
    """Source: RFC 8794, 4 to 6."""
    head = _at(file, 0, 1024)
    size, start = ebml_number(head, 4)
    size, position = ebml_number(head, start + size + 4)
    end = position + size if size else length  # 0: it was left open
    ends = [min(end, length)]
    while position < ends[0]:
        while len(ends) > 1 and position >= ends[-1]:
            ends.pop()
        known = _IN_CLUSTER if len(ends) > 1 else _IN_SEGMENT
        header = _at(file, position, _LONGEST_ELEMENT)
        width = 9 - header[0].bit_length() if header and header[0] else 0
        kind = int.from_bytes(header[:width], "big")
        if not width or kind not in known:
            return _torn(position)
        size, start = ebml_number(header, width)
        if not size and header[width:] and header[width] not in (0x80, 0x40):
            return None  # of unknown size: where it ends, what follows says
        if kind == _CLUSTER:
            ends.append(position + start + size)
            position += start
        else:
            position += start + size
        if position > ends[-1]:
            return _torn(ends[-1]) if ends[-1] < length else _cut(position - length)
    return None


def _avi(file: BinaryIO, length: int) -> Flaw | None:
    """Source: Microsoft, AVI RIFF File Reference."""
    position = 0
    ends = [length]
    while position + 8 <= length:
        while len(ends) > 1 and position >= ends[-1]:
            ends.pop()
        header = _at(file, position, 12)
        kind, size = header[:4], int.from_bytes(header[4:8], "little")
        # Four letters, digits or blanks, as all of them are.
        if not re.fullmatch(rb"[ -~]{4}", kind):
            return _torn(position)
        end = position + 8 + size + size % 2
        if end - size % 2 > ends[-1]:
            return _torn(position) if end < length else _cut(end - size % 2 - length)
        listed = kind in (b"RIFF", b"LIST")
        if listed:
            ends.append(end)
        position = position + 12 if listed else end
    return None


_FLV_TAGS = (8, 9, 15, 18)  # audio, video, and data of two kinds


def _flv(file: BinaryIO, length: int) -> Flaw | None:
    """Source: Adobe, Video File Format Specification 10.1, annex E."""
    position = int.from_bytes(_at(file, 5, 4), "big") + 4
    while position < length:
        tag = _at(file, position, 11)
        if tag[0] & 0x1F not in _FLV_TAGS or tag[0] & 0xC0:
            return _torn(position)
        if len(tag) < 11:
            return _cut(11 - len(tag))
        position += 11 + int.from_bytes(tag[1:4], "big") + 4
    return _cut(position - length) if position > length else None


def _gif(file: BinaryIO, length: int) -> Flaw | None:
    """Source: W3C, GIF89a specification."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    flags = _at(file, 10, 1)
    position = 13 + table(flags[0] if flags else 0)
    kind = b""
    while position < length:
        kind = _at(file, position, 1)
        if kind == b";":
            return None
        if kind == b"!":
            position += 2
        elif kind == b",":
            flags = _at(file, position + 9, 1)
            position += 11 + table(flags[0] if flags else 0)
        else:
            return _torn(position)
        file.seek(position)
        while size := file.read(1):  # blocks of data, up to an empty one
            position += 1 + size[0]
            if not size[0]:
                break
            file.seek(position)
    if kind == b"," and position == length:
        return None  # some lack the sign of the end, and nothing else
    return Flaw("it ends within a picture", is_cut=True)


_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf(file: BinaryIO, length: int) -> Flaw | None:
    """Source: Microsoft, Advanced Systems Format 1.20, 3.2 and 5.2."""
    data = int.from_bytes(_at(file, 16, 8), "little")
    header = _at(file, 0, min(data, 1 << 20))
    place = header.find(_ASF_FILE)
    if place < 0 or len(header) < place + 104:
        return None
    fields = header[place + 24 :]
    if fields[64] & 1:  # a broadcast, whose numbers say nothing
        return None
    stated = int.from_bytes(fields[16:24], "little")
    if stated > length:
        return _cut(stated - length)
    count = int.from_bytes(fields[32:40], "little")
    size = int.from_bytes(fields[68:72], "little")
    first = _at(file, data + 50, 1)
    for position in range(data + 50, data + 50 + count * size, size or 1):
        if _at(file, position, 1) != first:
            return _torn(position)
    return None


_PACK, _END = 0xBA, 0xB9
_PROGRAM_START = b"\0\0\1\xba"
_BLOCK = 1 << 20


def _program_stream(file: BinaryIO, length: int) -> Flaw | None:
    """Source: ISO/IEC 13818-1, 2.5.3."""
    position, flaw = 0, None
    while position < length:
        header = _at(file, position, 14)
        if header[:3] != b"\0\0\1" or len(header) < 4 or header[3] < _END:
            if not header.strip(b"\0") and len(header) < 14:
                break
            found = _find(file, position + 1, _PROGRAM_START)
            if not re.fullmatch(rb"\0+", _at(file, position, found - position)):
                flaw = flaw or _torn(position)
            position = found
        elif header[3] == _END:
            return flaw
        elif header[3] == _PACK:
            short = len(header) > 4 and header[4] & 0xC0 != 0x40  # of MPEG-1
            position += 12 if short else 14 + (header[13] & 7 if header[13:] else 0)
        else:
            position += 6 + int.from_bytes(header[4:6], "big")
    return _cut(position - length) if position > length else flaw


def _find(file: BinaryIO, position: int, wanted: bytes) -> int:
    """Where `wanted` comes next; the end of the file if it does not."""
    while block := _at(file, position, _BLOCK):
        place = block.find(wanted)
        if place >= 0:
            return position + place
        if len(block) < len(wanted):
            return position + len(block)
        position += len(block) - len(wanted) + 1
    return position


_SYNC = 0x47
_PACKETS = ((188, 0), (192, 4), (204, 0))  # size, and where its first byte is


def _is_transport(head: bytes) -> bool:
    return bool(_packet_form(head))


def _packet_form(head: bytes) -> tuple[int, int] | None:
    for size, sync in _PACKETS:
        marks = head[sync::size]
        if len(marks) > 2 and set(marks) == {_SYNC}:
            return size, sync
    return None


def _transport_stream(file: BinaryIO, length: int) -> Flaw | None:
    """Source: ISO/IEC 13818-1, 2.4.3."""
    form = _packet_form(_at(file, 0, 1024))
    assert form is not None  # it would not be walked
    size, sync = form
    flaw, position, start = None, 0, 0  # of what is in step
    block_bytes = _BLOCK // size * size
    while block := _at(file, position, block_bytes):
        marks = block[sync::size]
        whole = len(marks) - len(marks.lstrip(bytes([_SYNC])))
        if whole == len(marks):
            position += len(block)
            continue
        position += whole * size
        flaw = flaw or _torn(position)
        again = re.compile(rb"(?s).{%d}(?=(?:\x47.{%d}){3})" % (sync, size - 1))
        found = again.search(_at(file, position + 1, block_bytes))
        if not found:
            return flaw
        position = start = position + 1 + found.start()
    rest = (length - start) % size
    return _cut(size - rest) if rest else flaw


def _ogg(file: BinaryIO, length: int) -> Flaw | None:
    """Source: RFC 3533, 6."""
    position = 0
    while position < length:
        header = _at(file, position, 27)
        if not b"OggS".startswith(header[:4]) and header[:4] != b"OggS":
            return _torn(position)
        if len(header) < 27:
            return _cut(27 - len(header))
        sizes = file.read(header[26])
        position += 27 + header[26] + sum(sizes)
    return _cut(position - length) if position > length else None


def _y4m(file: BinaryIO, length: int) -> Flaw | None:
    """Source: mjpegtools, yuv4mpeg(5)."""
    head = _at(file, 0, 1024).partition(b"\n")[0]
    size = y4m_frame_bytes(head)
    position = len(head) + 1
    while size and position < length:
        line = _at(file, position, 256)
        if not b"FRAME".startswith(line[:5]) and line[:5] != b"FRAME":
            return _torn(position)
        position += line.find(b"\n") + 1 + size
    return _cut(position - length) if position > length else None


# How many pixels across and down share a chroma sample.
_Y4M_CHROMA = {"420": (2, 2), "411": (4, 1), "422": (2, 1), "444": (1, 1)}


def y4m_frame_bytes(header: bytes) -> int:
    """Size of a frame of a Y4M stream, by its first line; 0: it does not tell."""
    fields = {part[:1]: part[1:] for part in header.decode("latin-1").split()[1:]}
    form = re.fullmatch(
        r"(420(?:jpeg|mpeg2|paldv)?|411|422|444|mono)(?:p?(9|1\d))?",
        fields.get("C", "420"),
    )
    size = fields.get("W", ""), fields.get("H", "")
    if form is None or not all(re.fullmatch(r"\d{1,5}", each) for each in size):
        return 0
    width, height = map(int, size)
    samples = width * height
    if form[1] != "mono":
        across, down = _Y4M_CHROMA[form[1][:3]]
        samples += 2 * -(-width // across) * -(-height // down)
    return samples * (2 if form[2] else 1)


_Walk = Callable[[BinaryIO, int], "Flaw | None"]


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic)


_WALKS: tuple[tuple[Callable[[bytes], bool], _Walk], ...] = (
    (_starts(b"\x1a\x45\xdf\xa3"), _matroska),
    (_starts(b"RIFF"), _avi),
    (_starts(b"FLV"), _flv),
    (_starts(b"GIF8"), _gif),
    (_starts(_ASF_HEADER), _asf),
    (_starts(_PROGRAM_START), _program_stream),
    (_starts(b"OggS"), _ogg),
    (_starts(b"YUV4MPEG2 "), _y4m),
    (_is_transport, _transport_stream),
)
