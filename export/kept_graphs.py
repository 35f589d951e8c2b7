"""The graph after every step of an export, in numbered files: ``--keep-graphs``."""

from __future__ import annotations

import re
from pathlib import Path

import onnx_ir as ir

from derain.core.errors import ExportError

_OURS = re.compile(r"\d\d-\w+\.onnx")


class KeptGraphs:
    """Writes graphs into a folder as ``00-pytorch.onnx``, ``01-frame.onnx`` and so on.

    Until operators have their bodies, at the end, only a viewer can open them.

    Args:
        folder: Where they go; None keeps nothing.
        force: Whether graphs of an earlier export are replaced.

    Raises:
        ExportError: `folder` holds something, or cannot be written.
    """

    def __init__(self, folder: Path | None, *, force: bool) -> None:
        self._folder = folder
        self._count = 0
        self._old: list[Path] = []
        if folder is None:
            return
        try:
            _try_to_make(folder)
            there = list(folder.iterdir()) if folder.exists() else []
            old = [path for path in there if _OURS.fullmatch(path.name)]
            if len(there) > (len(old) if force else 0):
                advice = "" if there != old else "replace them with --force, or "
                raise ExportError(
                    f"{folder} is not empty; {advice}choose another --keep-graphs"
                )
        except OSError as error:
            raise ExportError(
                f"{folder} cannot be written: {error.strerror}; choose another "
                "--keep-graphs"
            ) from error
        self._old = old

    def keep(self, name: str, model: ir.Model) -> None:
        """Write `model` as what the step `name` has made.

        Raises:
            ExportError: It cannot be written.
        """
        if self._folder is None:
            return
        path = self._folder / f"{self._count:02}-{name}.onnx"
        self._count += 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while self._old:  # graphs of an earlier export, now that there are new ones
                self._old.pop().unlink(missing_ok=True)
            ir.save(model, path)
        except OSError as error:
            raise ExportError(f"{path} cannot be written: {error.strerror}") from error


def _try_to_make(folder: Path) -> None:
    """Raise `OSError` where `folder` cannot be made, and leave nothing."""
    made = []
    try:
        for each in reversed([folder, *folder.parents]):
            if not each.exists():
                each.mkdir()
                made.append(each)
    finally:
        for each in reversed(made):
            each.rmdir()
