"""What a PyTorch file may become in memory: looked at before PyTorch opens it.

``weights_only=True`` runs no code of the file. It does not stop a file of a megabyte
that is packed zeros, or lists of lists that double at each level and that nobody ever
comes to the end of; nor does PyTorch compare a file's checksums.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
from typing import BinaryIO

MOST_BYTES = 4 << 30  # the largest published deraining networks have 500 MB
# Objects, each counted as often as it is referred to. A network of 1000 tensors with
# Adam's state has some 150,000.
_MOST_OBJECTS = 3_000_000
_LEGACY_PICKLES = 5  # in front of the tensors of a file of PyTorch before 1.6
_CHUNK = 1 << 20


def archive_flaw(content: bytes) -> str:
    """Why a file that ``torch.save`` may have written is not opened; empty: no reason.

    What is no such file at all is left to PyTorch.
    """
    file = io.BytesIO(content)
    try:
        if content.startswith(b"PK"):
            return _zip_flaw(file, len(content))
        for _ in range(_LEGACY_PICKLES):
            if flaw := _pickle_flaw(file):
                return flaw
    # Damage makes zipfile and pickletools fail with whatever breaks first.
    except Exception:
        return ""
    return ""


def _zip_flaw(file: BinaryIO, length: int) -> str:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            return ""  # TorchScript, which PyTorch does not open either
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return "holds compressed parts, which torch.save never writes"
        if sum(entry.file_size for entry in entries) > length:
            return "says that its parts are larger than the file"
        for entry in entries:
            if not _is_intact(archive, entry):
                return f"is damaged: the checksum of {entry.filename!a} is wrong"
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                with archive.open(entry) as pickled:
                    if flaw := _pickle_flaw(pickled):
                        return flaw
    return ""


def _is_intact(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    checksum = 0
    try:
        with archive.open(entry) as file:
            while chunk := file.read(_CHUNK):
                checksum = zlib.crc32(chunk, checksum)
    except (zipfile.BadZipFile, EOFError):  # it looks at the checksum, too
        return False
    return checksum == entry.CRC


class _Weight:
    """How many objects an object is made of, itself included."""

    __slots__ = ("count",)

    def __init__(self, count: int = 1) -> None:
        self.count = count


_MARK = object()
# What changes the object below its arguments instead of making a new one.
_IN_PLACE = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}


def _pickle_flaw(file: object) -> str:
    """Count what the pickle at the file's position would become; make none of it."""
    stack: list[object] = []
    memo: dict[object, object] = {}
    for number, (code, argument, _) in enumerate(
        pickletools.genops(file)  # type: ignore[arg-type]  # it only reads
    ):
        name = code.name
        if name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            taken = _take(stack, code)
            made = [_Weight() for _ in code.stack_after]
            if name in _IN_PLACE and taken and isinstance(taken[0], _Weight):
                made = [taken[0]]
                taken = taken[1:]
            for each in made:
                each.count += sum(part.count for part in taken)
            stack += made
        top = stack[-1] if stack else None
        count = top.count if isinstance(top, _Weight) else 0
        if max(count, number) > _MOST_OBJECTS:
            return f"holds more than {_MOST_OBJECTS:,} objects".replace(",", " ")
    return ""


def _take(stack: list[object], code: pickletools.OpcodeInfo) -> list[_Weight]:
    """Take what an operation works on off the stack, the lowest first."""
    taken: list[object] = []
    below = len(code.stack_before)
    if pickletools.markobject in code.stack_before:
        while (each := stack.pop()) is not _MARK:
            taken.append(each)
        below = code.stack_before.index(pickletools.markobject)
    taken += [stack.pop() for _ in range(below)]
    return [each for each in reversed(taken) if isinstance(each, _Weight)]
