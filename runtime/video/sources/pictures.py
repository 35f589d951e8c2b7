"""Pictures as a source: one, a folder, or a glob."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from derain.core.errors import MediaError
from derain.core.pictures import SUFFIXES, read_picture
from derain.runtime.video.frames import DEFAULT_FPS, Frame, SourceInfo


class PictureSource:
    """The pictures in `paths`, one frame each, shown at `fps` frames per second."""

    def __init__(
        self, paths: tuple[Path, ...], description: str, fps: Fraction | None = None
    ) -> None:
        self._paths = paths
        fps = fps or DEFAULT_FPS
        self.info = SourceInfo(
            description=description,
            time_base=1 / fps,
            fps=fps,
            frames=len(paths),
            files=paths,
        )

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        step = self.info.time_base
        for index, path in enumerate(self._paths):
            yield Frame(read_picture(path), index, index * step, step, path.name)

    def interrupt(self) -> None:
        """See `Source.interrupt`: nothing here waits for long."""

    def close(self) -> None:
        """See `Source.close`."""


def open_picture(uri: str, fps: Fraction | None = None) -> PictureSource:
    """The picture `uri`."""
    return PictureSource((Path(uri),), uri, fps)


def open_folder(uri: str, fps: Fraction | None = None) -> PictureSource:
    """Every picture in the folder `uri`, in natural order; other files are left out.

    Raises:
        MediaError: It cannot be listed, or holds no picture.
    """
    try:
        paths = _pictures(Path(uri).iterdir())
    except OSError as error:
        raise MediaError(f"{uri} cannot be listed: {error.strerror}") from error
    if not paths:
        raise MediaError(
            f"{uri} holds no picture; wanted {', '.join(sorted(SUFFIXES))}"
        )
    return PictureSource(paths, f"{uri}, {len(paths)} pictures", fps)


def open_glob(uri: str, fps: Fraction | None = None) -> PictureSource:
    """Every picture that the pattern `uri` matches, in natural order.

    Raises:
        MediaError: It matches no picture.
    """
    # pathlib's glob takes no absolute patterns.
    found = glob.glob(uri, recursive=True)  # noqa: PTH207
    paths = _pictures(map(Path, found))
    if not paths:
        raise MediaError(
            f"{uri} matches no picture; wanted {', '.join(sorted(SUFFIXES))}"
        )
    return PictureSource(paths, f"{uri}, {len(paths)} pictures", fps)


def natural_key(path: Path) -> tuple[list[tuple[str, int]], str]:
    """Sort key that puts ``frame9.png`` before ``frame10.png``."""
    parts = re.findall(r"(\D*)(\d*)", str(path))
    return [(text.casefold(), int(digits or -1)) for text, digits in parts], str(path)


def _pictures(paths: Iterator[Path]) -> tuple[Path, ...]:
    wanted = (
        path
        for path in paths
        # Names with a leading dot are notes that systems leave beside pictures.
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    return tuple(sorted((path for path in wanted if path.is_file()), key=natural_key))
