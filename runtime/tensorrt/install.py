"""Put an engine into a bundle, which changes at once or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from derain.core.atomic_files import remove_leftovers, replacing, write_text
from derain.core.bundle import MODEL_FILE, Bundle, sha256
from derain.core.errors import BundleError, EngineError
from derain.core.manifest import FILE_NAME
from derain.runtime.tensorrt.engine_record import EngineKind, EngineRecord

# A plan, or what is left of one (see `derain.core.atomic_files`).
_OURS = re.compile(
    r"tensorrt(-rtx)?-[\w.-]+-[0-9a-f]{8}\.plan|\.tensorrt-[\w.-]+-[0-9a-f]{8}\.part"
)


def plan_name(kind: EngineKind, digest: str) -> str:
    """Name of a plan: ``tensorrt-10.3.0-sm87-1280x720-0a1b2c3d.plan``.

    It holds part of the plan's hash: a new plan never has the name of one that the
    manifest still needs.
    """
    sm = "-".join(f"sm{c.replace('.', '')}" for c in kind.compute_capabilities)
    sizes = kind.sizes
    size = str(sizes) if sizes.is_static else f"{sizes.minimum}-{sizes.maximum}"
    return f"{kind.backend}-{kind.version}-{sm}-{size}-{digest[:8]}.plan"


def digest_of(plan: IO[bytes]) -> tuple[str, int]:
    """SHA-256 and length of an open file, from its start."""
    digest = hashlib.sha256()
    plan.seek(0)
    while chunk := plan.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest(), plan.tell()


def has_engine(bundle: Bundle, kind: EngineKind) -> bool:
    """Whether a bundle holds an intact engine of this kind."""
    return any(
        record.kind == kind
        and record.onnx_sha256 == bundle.manifest.files[MODEL_FILE]
        and (bundle.folder / record.file).is_file()
        and sha256(bundle.folder / record.file) == record.sha256
        for record in map(_record, bundle.manifest.engines)
        if record is not None
    )


def install(folder: Path, record: EngineRecord, plan: IO[bytes]) -> None:
    """Add an engine to the bundle in `folder`, in place of one of the same kind.

    The plan is complete on the disk before the manifest names it, and the one it
    replaces goes last: whenever this stops, the bundle is as before or as wanted.

    Raises:
        BundleError: The bundle has gone.
        EngineError: It was exported again meanwhile, or cannot be written.
    """
    try:
        with _locked(folder):
            manifest = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            if manifest["files"][MODEL_FILE] != record.onnx_sha256:
                raise EngineError(
                    f"{folder} was exported again during the build; compile it again"
                )
            plan.seek(0)
            with replacing(folder / record.file) as file:
                shutil.copyfileobj(plan, file, 1 << 20)
            kept = [
                fields
                for fields in manifest.get("engines", ())
                if (known := _record(fields)) is None or known.kind != record.kind
            ]
            manifest["engines"] = [*kept, record.to_json()]
            # As it is: fields of a newer version of derain stay.
            text = json.dumps(manifest, indent=2) + "\n"
            write_text(folder / FILE_NAME, text)
            _remove_orphans(folder, manifest["engines"])
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is no longer a bundle: {error}") from error
    except OSError as error:
        raise EngineError(f"{folder} cannot be written: {error.strerror}") from error


def _record(fields: Any) -> EngineRecord | None:
    """The record; None if it is damaged, or from another version of derain."""
    try:
        return EngineRecord.from_json(fields)
    except ValueError:
        return None


def _remove_orphans(folder: Path, engines: list[Any]) -> None:
    """Remove the plans that no record names, of an engine replaced or of a kill."""
    named = {fields.get("file") for fields in engines if isinstance(fields, dict)}
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in named:
            path.unlink()
    remove_leftovers(folder / FILE_NAME)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time changes a bundle."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
