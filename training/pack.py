"""Training pictures in one small file: ``derain-train pack``.

For a machine that is lent by the minute: one file to carry there, decoded in seconds.
It is a zip of JPEG files: ``pairs/`` side by side, clean at the left, and ``clean/``.
`derain.training.run` reads it wherever it reads a folder.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from derain.core.errors import MediaError
from derain.core.pairs import Pair, Picture, open_pairs
from derain.core.pictures import decode_picture, picture_paths, read_picture
from derain.training.leakage import Scenes
from derain.training.run_folder import write_file

SUFFIX = ".zip"
_PAIRS, _CLEAN = "pairs/", "clean/"
_FULL_COLOUR = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444


def pack(
    output: Path,
    *,
    pairs: Path | None = None,
    clean: Path | None = None,
    not_in: Sequence[Path] = (),
    side: int,
    quality: int,
    megabytes: float,
) -> float:
    """Pack the middles of pairs and photographs into one file.

    Args:
        output: The file.
        pairs: Folder of pairs.
        clean: Folder of photographs.
        not_in: Folders whose scenes are left out.
        side: Most height and width of a picture, in pixels.
        quality: Of JPEG, up to 100.
        megabytes: Most that the file may take.

    Returns:
        Megabytes that it takes.

    Raises:
        MediaError: Pictures cannot be read, or `output` would be too large or cannot be
            written.
    """
    scenes = Scenes(not_in)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        for pair in open_pairs(pairs) if pairs else ():
            if scenes.hold(pair.clean):
                continue
            both = np.hstack([middle(pair.clean, side), middle(pair.rainy, side)])
            file.writestr(f"{_PAIRS}{pair.name}.jpg", _encoded(both, quality))
        for path in picture_paths(clean) if clean else ():
            image = read_picture(path)
            if scenes.hold(image):
                continue
            encoded = _encoded(middle(image, side), quality)
            file.writestr(f"{_CLEAN}{path.stem}.jpg", encoded)
    size = content.getbuffer().nbytes / 1e6
    if size > megabytes:
        raise MediaError(
            f"{output} would take {size:.1f} MB, wanted at most {megabytes:g}; "
            "choose a smaller --side or --quality"
        )
    write_file(output, content.getbuffer())
    return size


def middle(image: Picture, side: int) -> Picture:
    """The middle of `image`, at most `side` pixels high and wide."""
    top = max(image.shape[0] - side, 0) // 2
    left = max(image.shape[1] - side, 0) // 2
    return image[top : top + side, left : left + side]


def packed_pairs(path: Path) -> Iterator[Pair]:
    """The pairs in the pack `path`.

    Raises:
        MediaError: It is no pack.
    """
    for name, both in _pictures(path, _PAIRS):
        half = both.shape[1] // 2
        yield Pair(name, both[:, half:], both[:, :half])


def packed_photographs(path: Path) -> Iterator[Picture]:
    """The photographs in the pack `path`.

    Raises:
        MediaError: It is no pack.
    """
    return (image for _, image in _pictures(path, _CLEAN))


def _pictures(path: Path, folder: str) -> Iterable[tuple[str, Picture]]:
    try:
        with zipfile.ZipFile(path) as file:
            for name in file.namelist():
                if name.startswith(folder):
                    image = decode_picture(file.read(name), f"{path}: {name}")
                    yield Path(name).stem, image
    except (OSError, zipfile.BadZipFile) as error:
        raise MediaError(f"{path} is not a pack of pictures: {error}") from error


def _encoded(image: Picture, quality: int) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FULL_COLOUR]
    done, content = cv2.imencode(".jpg", image, settings)
    assert done  # JPEG in memory: nothing can fail but memory
    return content.tobytes()
