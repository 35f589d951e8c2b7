"""What was measured before, found again by everything that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from derain.calibration.files import write_json
from derain.core.errors import CalibrationError
from derain.core.synthetic import rain


def default_folder() -> Path:
    """Where measurements are kept: ``$DERAIN_CACHE``, or the user's cache folder."""
    if "DERAIN_CACHE" in os.environ:
        return Path(os.environ["DERAIN_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "derain" / "calibration"


class Cache:
    """JSON objects in a folder, one file a key.

    Args:
        folder: Created when needed; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        """What was stored under `key`; None if there is nothing, or it is damaged."""
        if self._folder is None:
            return None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            stored = json.loads(
                (self._folder / f"{key}.json").read_text(encoding="utf-8")
            )
            if isinstance(stored, dict):
                content: dict[str, Any] | None = stored.get("content")
                if stored.get("sha256") == _digest(content):
                    return content
        return None

    def put(self, key: str, content: dict[str, Any]) -> None:
        """Store `content`; a cache that cannot be written is no error."""
        if self._folder is not None:
            stored = {"sha256": _digest(content), "content": content}
            with contextlib.suppress(CalibrationError):
                write_json(self._folder / f"{key}.json", stored)


def _digest(content: object) -> str:
    """SHA-256: what it fits is what this version of the code has written."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def key_of(*parts: str) -> str:
    """SHA-256 of `parts` and of all code that figures depend on.

    That is this package, the rain of the flicker's clip, and the versions of the
    libraries that compute.
    """
    digest = hashlib.sha256()
    for version in (ort.__version__, np.__version__, cv2.__version__):
        digest.update(f"{version} ".encode())
    package = Path(__file__).resolve().parent
    for path in (*sorted(package.glob("*.py")), Path(rain.__file__)):
        digest.update(path.read_bytes())
    for part in parts:
        digest.update(f"{len(part)} {part}".encode())
    return digest.hexdigest()


def graph_hash(model: ir.Model) -> str:
    """SHA-256 of a graph, weights included, without the exporter's remarks."""
    copy = model.clone()
    copy.metadata_props.clear()
    copy.doc_string = None
    for graph in (copy.graph, *(f.graph for f in copy.functions.values())):
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    proto = ir.to_proto(copy)
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
