"""Kinds of sources and sinks, told apart by how they are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source or sink: a row of their tables.

    Attributes:
        form: How it is written, for messages.
        matches: Whether an URI or path is of this kind.
        module: Module beside the table, imported when the kind is first used: pictures
            work without PyAV.
        factory: Callable in it: ``factory(uri, fps)`` returns a `Source`,
            ``factory(uri, info, options)`` a `Sink`.
        extra: The ``derain[...]`` extra that installs its dependencies.
    """

    form: str
    matches: Callable[[str], bool]
    module: str
    factory: str
    extra: str = ""


def find(uri: str, table: Iterable[Kind]) -> Kind | None:
    """The first row of `table` that `uri` is of."""
    return next((kind for kind in table if kind.matches(uri)), None)


def scheme(uri: str) -> str:
    """``rtsp`` of ``rtsp://...``; empty for a path."""
    # Two letters at least: C:\ is a drive.
    match = re.match(r"([a-z][a-z0-9+.-]+):", uri, re.IGNORECASE)
    return match[1].lower() if match and not _exists(uri) else ""


def schemes(*names: str) -> Callable[[str], bool]:
    """Matches URIs that have one of these schemes."""
    return lambda uri: scheme(uri) in names


def suffix_in(suffixes: frozenset[str]) -> Callable[[str], bool]:
    """Matches paths that end in one of `suffixes`."""
    return lambda uri: scheme(uri) == "" and Path(uri).suffix.lower() in suffixes


def is_pipe(uri: str) -> bool:
    """Matches ``-``, with or without fields."""
    return uri.partition("?")[0] == "-"


def is_folder(uri: str) -> bool:
    """Matches folders that exist."""
    return Path(uri).is_dir()


def listed(suffixes: frozenset[str]) -> str:
    """`suffixes` for a message."""
    return " ".join(sorted(suffixes))


def _exists(uri: str) -> bool:
    try:
        return Path(uri).exists()
    except OSError:  # a pipeline is longer than a file name may be
        return False
