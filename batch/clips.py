"""Which clips there are, where their results go, and which of them are to be done."""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from derain.batch.options import BatchOptions
from derain.batch.storage import ANY_ERROR, Place, line, matches, root_of
from derain.core.atomic_files import require_writable
from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import ConfigError, MediaError
from derain.core.pictures import SUFFIXES as PICTURE_SUFFIXES
from derain.runtime.video.sinks import VIDEO_SUFFIXES as WRITTEN_SUFFIXES
from derain.runtime.video.sources import VIDEO_SUFFIXES

_log = logging.getLogger(__name__)
RECORD_SUFFIX = ".derain.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTask:
    """One clip, and where its result goes.

    Attributes:
        source: A path or URI.
        result: A path or URI.
        name: Of the result, below the output; with slashes.
        bytes: Length of the source.
    """

    source: str
    result: str
    name: str
    bytes: int

    @property
    def record(self) -> str:
        """Path or URI of what is kept beside the result: how it was made."""
        return self.result + RECORD_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecipe:
    """What a result depends on, besides its source.

    Attributes:
        bundle_sha256: Of the graphs: of the bundle's, and of those of ``--bundles``.
        options: Those that change the picture.
    """

    bundle_sha256: str
    options: dict[str, Any]

    @classmethod
    def of(cls, bundle: Bundle, options: BatchOptions) -> ClipRecipe:
        """What `bundle` and `options` make."""
        others = [Bundle.open(Path(path)) for path in options.bundles]
        hashes = [each.manifest.files[MODEL_FILE] for each in (bundle, *others)]
        whole = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
        chosen = {
            name: value
            for name, value in options.run_keywords().items()
            if name not in ("threads", "bundles")
        }
        chosen["fps"] = None if options.fps is None else str(options.fps)
        return cls(bundle_sha256=whole, options=chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecord:
    """How a result was made; a JSON file beside it.

    Attributes:
        source: The clip's path or URI, for people.
        stamp: See `Place.stamp`: while it is the same, nobody reads the clip.
        source_sha256: Of the clip's content.
        recipe: How it was derained.
        result_bytes: Length of the result.
        frames: How many it has.
        derain: Version that made it.
    """

    source: str
    stamp: str
    source_sha256: str
    recipe: ClipRecipe
    result_bytes: int
    frames: int
    derain: str

    def to_json(self) -> bytes:
        """As it is written."""
        text = json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=2)
        return (text + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> ClipRecord | None:
        """What `to_json` wrote; None where it is anything else."""
        try:
            fields = json.loads(content)
            if fields.pop("schema") != _SCHEMA:
                return None
            return cls(**{**fields, "recipe": ClipRecipe(**fields["recipe"])})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def find_clips(sources: Iterable[str], output: str) -> list[ClipTask]:
    """The clips that `sources` name, in order; what lies in the output is none.

    Args:
        sources: Paths, folders (whose videos are taken, to any depth), patterns (``**``
            for folders to any depth) and URIs of them.
        output: A folder, or the URI of one.

    Raises:
        ConfigError: There is none, or two would have one result.
        MediaError: A place cannot be read, or the output not be written.
    """
    folder = Place.of(output)
    _check_output(folder)
    clips: dict[str, ClipTask] = {}
    for uri in sources:
        place = Place.of(uri)
        found = _clips_of(place, folder)
        if not found:
            raise ConfigError(_none(place))
        for clip in found:
            other = clips.setdefault(clip.name, clip)
            if other.source != clip.source:
                raise ConfigError(
                    f"{other.source} and {clip.source} would both become "
                    f"{folder.below(clip.name)}; name a folder above both, or run twice"
                )
    return sorted(clips.values(), key=lambda clip: clip.name)


def _check_output(folder: Place) -> None:
    """Raise where no file can be made in `folder`, before anything is derained."""
    if not folder.is_local:
        return
    try:
        require_writable(Path(folder.path) / "clip")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"--output {folder} cannot be written: {reason}; choose another"
        ) from error


def _clips_of(place: Place, output: Place) -> list[ClipTask]:
    root = root_of(place)
    is_folder = root == place.path
    suffixes = VIDEO_SUFFIXES if is_folder else VIDEO_SUFFIXES | PICTURE_SUFFIXES
    inside = output.path.rstrip("/") + "/"
    same_system = type(place.system) is type(output.system)
    clips = []
    for path, facts in sorted(matches(place).items()):
        suffix = PurePosixPath(path).suffix.lower()
        if suffix not in suffixes or (same_system and path.startswith(inside)):
            continue
        name = posixpath.relpath(path, root or "/")
        if suffix not in WRITTEN_SUFFIXES | PICTURE_SUFFIXES:
            name += ".mp4"
        clips.append(
            ClipTask(
                source=place.at(path).uri,
                result=output.below(name).uri,
                name=name,
                bytes=int(facts.get("size") or 0),
            )
        )
    return clips


def _none(place: Place) -> str:
    if place.system.isdir(place.path):
        return (
            f"{place} has no clip in it: wanted {' '.join(sorted(VIDEO_SUFFIXES))}; "
            f"for pictures give a pattern such as '{place}/**/*.png'"
        )
    if any(sign in place.path for sign in "*?["):
        return f"{place} matches no clip; quote it, so that the shell leaves it alone"
    if place.system.exists(place.path):
        return f"{place} is neither a video nor a picture"
    return f"{place} does not exist"


def to_do(
    clips: Sequence[ClipTask], recipe: ClipRecipe, *, force: bool
) -> list[ClipTask]:
    """The clips whose result is missing, or was made of or by something else.

    Raises:
        ConfigError: Something is in a result's place that derain-batch has not written,
            or that was changed since; and `force` is off.
        MediaError: A place cannot be read.
    """
    left, foreign = [], []
    for clip in clips:
        result = Place.of(clip.result)
        try:
            length = result.size()
            record = None if length is None else _record_of(clip)
            if length is not None and (record is None or record.result_bytes != length):
                foreign.append(result)
                left.append(clip)
            elif record is None or not _is_current(clip, record, recipe):
                left.append(clip)
        except ANY_ERROR as error:
            raise MediaError(f"{clip.source} cannot be read: {line(error)}") from error
    if foreign and not force:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise ConfigError(
            f"{foreign[0]}{more} was not written by derain-batch, or changed since; "
            "replace it with --force, or choose another --output"
        )
    return left


def _record_of(clip: ClipTask) -> ClipRecord | None:
    try:
        return ClipRecord.from_json(Place.of(clip.record).read())
    except FileNotFoundError:
        return None


def _is_current(clip: ClipTask, record: ClipRecord, recipe: ClipRecipe) -> bool:
    if record.recipe != recipe:
        return False
    source = Place.of(clip.source)
    stamp = source.stamp()
    if record.stamp == stamp:
        return True
    if record.source_sha256 != source.sha256():
        return False
    _log.debug(f"{clip.source} was touched, but is the same")
    Place.of(clip.record).write(replace(record, stamp=stamp).to_json())
    return True
