"""Frames to calibrate on: a few dozen that differ, out of a source of any length."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from derain.calibration.features import Features, describe, stratify
from derain.calibration.scoring import HeldOut
from derain.core.errors import CalibrationError, ShapeError
from derain.core.frame_tensors import mirror_to
from derain.core.progress import Progress, frames_line
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size
from derain.core.synthetic.rain import LINES, PRESETS, render_rain
from derain.runtime.pipeline.capture import Capture
from derain.runtime.video.frames import Frame
from derain.runtime.video.sources import open_source

FrameSource = str | Path | Iterable[NDArray[np.uint8]]

HELD_OUT = 8
_HELD_OUT_SHARE = 1 / 9  # at least, where there are few frames
_LEAST_CONTRAST = 2.0  # grey levels; below it a frame is black, or shows a wall
_LIVE_SECONDS = 1.0  # between frames of a live source, which has no end
_RAIN = ("moderate", "light", "heavy", "downpour")


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame on disk.

    Attributes:
        path: The frame, and its truth where it is known, as a NumPy file.
        name: What the source calls it.
        features: What it looks like.
        height: Rows that came from the source.
        width: Columns that came from the source.
    """

    path: Path
    name: str
    features: Features
    height: int
    width: int

    @property
    def rainy(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8 BGR."""
        frame: NDArray[np.uint8] = np.load(self.path)[0]
        return frame

    def held_out(self) -> HeldOut:
        """The frame as a `Scorer` wants it."""
        both = np.load(self.path)
        clean = both[1] if len(both) > 1 else None
        return HeldOut(both[0], clean, self.height, self.width)


class FrameStore:
    """Chosen frames in a temporary folder, which goes when the block ends.

    Attributes:
        chosen: Frames for ranges.
        held_out: Frames for accuracy control.
        description: Where they came from.
        seen: How many frames the source had.
        repeated: How many of them repeated another.
        resized: Whether frames were cropped or mirrored to fit.
    """

    def __init__(self) -> None:
        self._folder = ScratchFolder(prefix="derain-calibration-")
        self.chosen: list[StoredFrame] = []
        self.held_out: list[StoredFrame] = []
        self.description = ""
        self.seen = self.repeated = 0
        self.resized = False

    def __enter__(self) -> FrameStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the frames. Calling it twice is harmless."""
        self._folder.cleanup()

    @property
    def digest(self) -> str:
        """SHA-256 of every pixel and of what counts, as hexadecimal text."""
        digest = hashlib.sha256()
        for part in (self.chosen, self.held_out):
            for stored in part:
                digest.update(f"{stored.height} {stored.width} ".encode())
                digest.update(stored.path.read_bytes())
            digest.update(b"/")
        return digest.hexdigest()

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The frames for ranges, one at a time."""
        for stored in self.chosen:
            yield stored.rainy

    def collect(
        self,
        source: FrameSource,
        size: Size,
        *,
        dry: bool,
        count: int,
        held_out: int = HELD_OUT,
    ) -> None:
        """Choose frames from `source`, which is read once and never held in memory.

        Of a live source, one frame a second is looked at, two for each one wanted.

        Args:
            source: What `derain.runtime.video.sources.open_source` takes, or
                `(H, W, 3)` uint8 BGR frames, which must come to an end.
            size: Of the frames the graph takes; others are cropped, or mirrored at the
                right and below: scaling would change the rain.
            dry: The source has no rain; some is rendered, and the truth is then known.
            count: Frames for ranges.
            held_out: Frames for accuracy control, besides.

        Raises:
            CalibrationError: The source has too few frames that show something.
            MediaError: It cannot be read.
            ShapeError: An array is no frame.
        """
        kept: list[StoredFrame] = []
        stride = 1
        different = blank = 0
        most = 2 * (count + held_out)
        progress = Progress()
        with closing(self._images(source, most)) as images, closing(progress):
            for name, image in images:
                self.seen += 1
                progress.update(partial(frames_line, self.seen, None))
                features = describe(image)
                if features.contrast < _LEAST_CONTRAST:
                    blank += 1
                    continue
                if any(features.same_as(k.features) for k in kept):
                    self.repeated += 1
                    continue
                different += 1
                if (different - 1) % stride:
                    continue
                kept.append(self._store(image, name, features, size, dry))
                if len(kept) > most:  # a longer clip than expected: every other goes
                    for stored in kept[1::2]:
                        stored.path.unlink()
                    kept = kept[::2]
                    stride *= 2
        if len(kept) < 2:
            why = f", {blank} of them black or blank" if blank else ""
            raise CalibrationError(
                f"{self.description} has {different} different frames{why}; INT8 needs "
                "one for ranges and one to check at least, and should have "
                f"{count + held_out}: give more footage"
            )
        self._divide(kept, count, held_out)

    def _images(
        self, source: FrameSource, most: int
    ) -> Generator[tuple[str, NDArray[np.uint8]], None, None]:
        """Names and frames of `source`; `description` is complete at its end."""
        if isinstance(source, (str, Path)):
            with Capture(open_source(str(source))) as opened:
                self.description = opened.info.description
                for frame in _looks(opened, most):
                    yield str(frame), frame.image
            return
        self.description = "0 frames given as arrays"
        for index, image in enumerate(source):
            _check_frame(image, index)
            self.description = f"{index + 1} frames given as arrays"
            yield f"frame {index}", image

    def _store(
        self,
        image: NDArray[np.uint8],
        name: str,
        features: Features,
        size: Size,
        dry: bool,
    ) -> StoredFrame:
        frame = fit(image, size)
        self.resized |= frame.shape != image.shape
        pictures = [frame]
        if dry:
            settings = PRESETS[_RAIN[self.seen % len(_RAIN)]].scaled(
                image.shape[0] / LINES
            )
            pictures.insert(0, render_rain(frame, settings, seed=self.seen))
        path = Path(self._folder.name) / f"{self.seen}.npy"
        try:
            np.save(path, np.stack(pictures))
        except OSError as error:
            raise CalibrationError(
                f"{path.parent} cannot hold the chosen frames: {error.strerror}; "
                "set TMPDIR to a larger place"
            ) from error
        height, width = (
            min(image.shape[0], size.height),
            min(image.shape[1], size.width),
        )
        return StoredFrame(path, name, features, height, width)

    def _divide(self, kept: Sequence[StoredFrame], count: int, held_out: int) -> None:
        """Ranges get `count` frames; accuracy control the rest, a ninth at least."""
        chosen = stratify([k.features for k in kept], count + held_out)
        share = round(len(chosen) * _HELD_OUT_SHARE)
        wanted = min(max(1, share, len(chosen) - count), held_out)
        out = {(k + 1) * len(chosen) // wanted - 1 for k in range(wanted)}
        for position, index in enumerate(chosen):
            (self.held_out if position in out else self.chosen).append(kept[index])


def _looks(source: Capture, most: int) -> Iterator[Frame]:
    """All frames of a file; of a live source, `most` frames, one a second."""
    if not source.info.live:
        yield from source
        return
    looks, wanted = 0, -math.inf
    for frame in source:
        now = float(frame.time) if frame.captured is None else frame.captured
        if now < wanted:
            continue
        yield frame
        looks, wanted = looks + 1, now + _LIVE_SECONDS
        if looks == most:
            return


def _check_frame(image: NDArray[np.uint8], index: int) -> None:
    got = (
        f"{getattr(image, 'shape', type(image).__name__)} {getattr(image, 'dtype', '')}"
    )
    if not (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size
    ):
        raise ShapeError(
            f"frame {index}: expected (H, W, 3) uint8, BGR, got {got.strip()}"
        )


def fit(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """`image` cropped in the middle, or mirrored at the right and below, to `size`."""
    height, width = image.shape[:2]
    top, left = max(0, height - size.height) // 2, max(0, width - size.width) // 2
    cut = image[top : top + size.height, left : left + size.width]
    return mirror_to(cut, size)
