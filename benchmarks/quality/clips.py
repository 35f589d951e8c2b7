"""Clips in folders: in the rain and the same without, or clean ones to rain on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from derain.core.config_file import read_toml
from derain.core.errors import ConfigError, MediaError, ShapeError
from derain.core.pairs import Pair, Picture, two_folders
from derain.core.pictures import SUFFIXES, picture_paths, read_picture
from derain.core.sizes import Size
from derain.core.synthetic.rain import LINES, PRESETS, RainField, RainSettings, add_rain
from derain.training.data import dry as dry_pairs

# Where clips are: a folder with folders ``rain`` and ``clean``, or of such folders; or
# the frames of each, by name.
Clips: TypeAlias = str | Path | Mapping[str, Iterable[Pair]]
Read = Callable[[], Iterator[Pair]]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip and the same without rain.

    Attributes:
        name: Of its folder.
        read: Its frames in order, from the first, each read when it is asked for.
    """

    name: str
    read: Read


def open_clips(
    clips: Clips, rain: RainSettings | None = None, seed: int = 0, *, dry: bool = False
) -> list[Clip]:
    """The clips that `clips` names, in order of their names.

    Args:
        clips: See `Clips`. With `rain` or `dry`, a clip's pictures may lie in its
            folder: they are clean.
        rain: Clean frames get this rain, whatever rain there is; in pixels of a picture
            480 lines high.
        seed: Which rain; each clip has one of its own.
        dry: Take the clean frames for the rainy ones.

    Raises:
        MediaError: There are none.
    """
    if isinstance(clips, Mapping):
        found = {name: _given(frames) for name, frames in clips.items()}
    else:
        found = _in_folder(Path(clips), needs_rain=rain is None and not dry)
    if not found:
        raise MediaError("there are no clips to measure on")
    opened = [Clip(name, _of_one_size(name, read)) for name, read in found.items()]
    if dry:
        return [Clip(clip.name, _dry(clip)) for clip in opened]
    if rain is None:
        return opened
    return [
        Clip(clip.name, _rained_on(clip, rain, seed + index))
        for index, clip in enumerate(opened)
    ]


def read_rain(text: str) -> RainSettings:
    """The rain that `text` names: a preset, or a TOML file of `RainSettings`.

    Raises:
        ConfigError: It is neither, or a setting is unknown or out of range.
    """
    if text in PRESETS:
        return PRESETS[text]
    path = Path(text)
    if not path.exists():
        raise ConfigError(
            f"no rain {text!r}; choose from {', '.join(PRESETS)}, or name a TOML file "
            "of settings such as length_px = 30"
        )
    table = read_toml(path)
    known = {each.name for each in fields(RainSettings)}
    if unknown := sorted(table.keys() - known):
        raise ConfigError(
            f"{path} has an unknown setting {unknown[0]!r}; wanted "
            f"{', '.join(sorted(known))}"
        )
    try:
        return RainSettings(**table)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _in_folder(folder: Path, *, needs_rain: bool) -> dict[str, Read]:
    if not folder.is_dir():
        raise MediaError(f"{folder} is no folder of clips")
    if (read := _clip(folder, needs_rain=needs_rain)) is not None:
        return {folder.resolve().name: read}
    found = {}
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (read := _clip(each, needs_rain=needs_rain)) is not None:
            found[each.name] = read
    if not found:
        hint = "; clean clips need --add-rain" if needs_rain else ""
        raise MediaError(
            f"{folder} holds no clips: wanted folders rain and clean in it, or in "
            f"each of its folders{hint}"
        )
    return found


def _clip(folder: Path, *, needs_rain: bool) -> Read | None:
    """Reads the clip in `folder`; None where there is none."""
    rain, clean = folder / "rain", folder / "clean"
    if needs_rain:
        both = rain.is_dir() and clean.is_dir()
        return (lambda: two_folders(rain, clean)) if both else None
    place = clean if clean.is_dir() else folder
    if not any(path.suffix.lower() in SUFFIXES for path in place.iterdir()):
        return None

    def read() -> Iterator[Pair]:
        for path in picture_paths(place):
            picture = read_picture(path)
            yield Pair(path.stem, picture, picture)

    return read


def _given(frames: Iterable[Pair]) -> Read:
    kept = [Pair(*frame) for frame in frames]
    return lambda: iter(kept)


def _of_one_size(name: str, read: Read) -> Read:
    def checked() -> Iterator[Pair]:
        first: Size | None = None
        for pair in read():
            size = _size(pair.clean)
            if size != (first := first or size) or pair.rainy.shape != pair.clean.shape:
                raise ShapeError(
                    f"{name}: frame {pair.name} is {_size(pair.rainy)} in the rain and "
                    f"{size} clean, the first is {first}; a clip has one size"
                )
            yield pair

    return checked


def _dry(clip: Clip) -> Read:
    return lambda: dry_pairs(clip.read())


def _rained_on(clip: Clip, rain: RainSettings, seed: int) -> Read:
    def read() -> Iterator[Pair]:
        field: RainField | None = None
        for index, pair in enumerate(clip.read()):
            size = _size(pair.clean)
            field = field or RainField(size, rain.scaled(size.height / LINES), seed)
            rainy = add_rain(pair.clean, field.opacity(index), field.settings.haze)
            yield Pair(pair.name, rainy, pair.clean)

    return read


def _size(picture: Picture) -> Size:
    return Size(picture.shape[1], picture.shape[0])
