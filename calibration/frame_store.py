"""Frames to calibrate on: a few dozen that differ, out of a source of any length.

For a network with a memory they are clips, whose frames stay in order.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from derain.calibration.clips import (
    Picture,
    clip_length,
    least_length,
    places,
    runs,
)
from derain.calibration.features import Features, describe, stratify
from derain.calibration.scoring import HeldOut
from derain.calibration.session import Shot
from derain.core.errors import CalibrationError, ShapeError
from derain.core.frame_tensors import mirror_to
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.progress import Progress, frames_line
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size
from derain.core.synthetic.rain import LINES, PRESETS, rain_on_clip
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
        features: What it looks like, or the first frame of its clip.
        height: Rows that came from the source.
        width: Columns that came from the source.
        start: As in `Shot`.
        judged: As in `HeldOut`.
    """

    path: Path
    name: str
    features: Features
    height: int
    width: int
    start: GraphMemory | None = NO_MEMORY
    judged: bool = True

    @property
    def rainy(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8 BGR."""
        frame: NDArray[np.uint8] = np.load(self.path)[0]
        return frame

    def held_out(self) -> HeldOut:
        """The frame as a `Scorer` wants it."""
        both = np.load(self.path)
        clean = both[1] if len(both) > 1 else None
        return HeldOut(both[0], clean, self.height, self.width, self.start, self.judged)

    @property
    def shot(self) -> Shot:
        """The frame as a `GraphSession` takes it."""
        return Shot(self.rainy, self.start)


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
    def clips(self) -> int:
        """How many clips of several frames there are."""
        starts = [each.start is None for each in (*self.chosen, *self.held_out)]
        return sum(after > before for before, after in itertools.pairwise(starts))

    @property
    def digest(self) -> str:
        """SHA-256 of every pixel and of what counts, as hexadecimal text."""
        digest = hashlib.sha256()
        for part in (self.chosen, self.held_out):
            for stored in part:
                begins = stored.start is not None
                digest.update(f"{stored.height} {stored.width} {begins} ".encode())
                digest.update(stored.path.read_bytes())
            digest.update(b"/")
        return digest.hexdigest()

    def shots(self) -> Iterator[Shot]:
        """The frames for ranges, one at a time."""
        for stored in self.chosen:
            yield stored.shot

    def collect(
        self,
        source: FrameSource,
        size: Size,
        *,
        dry: bool,
        count: int,
        held_out: int = HELD_OUT,
        memory: GraphMemory = NO_MEMORY,
    ) -> None:
        """Choose frames from `source`, which is read once and never held in memory.

        Of a live source, one frame or clip a second is looked at, two for each one
        wanted.

        Args:
            source: What `derain.runtime.video.sources.open_source` takes, or
                `(H, W, 3)` uint8 BGR frames, which must come to an end.
            size: Of the frames the graph takes; others are cropped, or mirrored at the
                right and below: scaling would change the rain.
            dry: The source has no rain; some is rendered, and the truth is then known.
            count: Frames for ranges.
            held_out: Frames for accuracy control, besides.
            memory: Of the network: with states, frames come in clips.

        Raises:
            CalibrationError: The source has too few frames that show something.
            MediaError: It cannot be read.
            ShapeError: An array is no frame.
        """
        length, least = clip_length(memory), least_length(memory)
        if memory.states:
            count, held_out = max(1, count // length), max(1, 2 * held_out // length)
        kept: list[list[StoredFrame]] = []
        stride = 1
        different = blank = 0
        most = 2 * (count + held_out)
        progress = Progress()
        opened = self._pictures(source, most, length)
        with closing(opened) as pictures, closing(progress):
            for run in runs(pictures, length):
                self.seen += len(run)
                progress.update(partial(frames_line, self.seen, None))
                features = describe(run[0].image)
                if features.contrast < _LEAST_CONTRAST:
                    blank += len(run)
                    continue
                if len(run) < least:
                    continue
                if any(features.same_as(k[0].features) for k in kept):
                    self.repeated += len(run)
                    continue
                different += 1
                if (different - 1) % stride:
                    continue
                late = memory.look_ahead
                kept.append(self._store(run, features, size, dry=dry, late=late))
                if len(kept) > most:  # a longer clip than expected: every other goes
                    for stored in itertools.chain(*kept[1::2]):
                        stored.path.unlink()
                    kept = kept[::2]
                    stride *= 2
        if len(kept) == 1 and len(kept[0]) >= 2 * least:
            half = len(kept[0]) // 2
            kept = [kept[0][:half], kept[0][half:]]
        if len(kept) < 2:
            why = f", {blank} of them black or blank" if blank else ""
            unit = f"clips of {least} frames in order" if memory.states else "frames"
            raise CalibrationError(
                f"{self.description} has {different} different {unit}{why}; INT8 needs "
                "one for ranges and one to check at least, and should have "
                f"{count + held_out}: give more footage"
            )
        self._divide(
            [
                [
                    replace(stored, start=start, judged=judged)
                    for stored, (start, judged) in zip(
                        clip, places(len(clip), memory), strict=True
                    )
                ]
                for clip in kept
            ],
            count,
            held_out,
        )

    def _pictures(
        self, source: FrameSource, most: int, length: int
    ) -> Generator[Picture, None, None]:
        """The frames of `source`; `description` is complete at its end."""
        if isinstance(source, (str, Path)):
            with Capture(open_source(str(source))) as opened:
                self.description = opened.info.description
                for frame in _looks(opened, most, length):
                    # A source may use its buffer again.
                    image = frame.image.copy() if length > 1 else frame.image
                    yield Picture(str(frame), frame.index, image)
            return
        self.description = "0 frames given as arrays"
        for index, image in enumerate(source):
            _check_frame(image, index)
            self.description = f"{index + 1} frames given as arrays"
            yield Picture(f"frame {index}", index, image)

    def _store(
        self,
        run: Sequence[Picture],
        features: Features,
        size: Size,
        *,
        dry: bool,
        late: int,
    ) -> list[StoredFrame]:
        """Keep the frames of a clip; the truth of each is `late` frames older."""
        frames = [fit(picture.image, size) for picture in run]
        high, wide = run[0].image.shape[:2]
        self.resized |= frames[0].shape != run[0].image.shape
        rainy = frames
        if dry:
            kind = _RAIN[self.seen // len(run) % len(_RAIN)]
            settings = PRESETS[kind].scaled(high / LINES)
            rainy = list(rain_on_clip(frames, settings, seed=self.seen))
        stored = []
        for index, picture in enumerate(run):
            path = Path(self._folder.name) / f"{self.seen}-{index}.npy"
            clean = [frames[max(0, index - late)]] if dry else []
            try:
                np.save(path, np.stack([rainy[index], *clean]))
            except OSError as error:
                raise CalibrationError(
                    f"{path.parent} cannot hold the chosen frames: {error.strerror}; "
                    "set TMPDIR to a larger place"
                ) from error
            height, width = min(high, size.height), min(wide, size.width)
            stored.append(StoredFrame(path, picture.name, features, height, width))
        return stored

    def _divide(
        self, kept: Sequence[Sequence[StoredFrame]], count: int, held_out: int
    ) -> None:
        """Ranges get `count` clips; accuracy control the rest, a ninth at least."""
        chosen = stratify([clip[0].features for clip in kept], count + held_out)
        share = round(len(chosen) * _HELD_OUT_SHARE)
        wanted = min(max(1, share, len(chosen) - count), held_out)
        out = {(k + 1) * len(chosen) // wanted - 1 for k in range(wanted)}
        for position, index in enumerate(chosen):
            (self.held_out if position in out else self.chosen).extend(kept[index])


def _looks(source: Capture, most: int, length: int) -> Iterator[Frame]:
    """All frames of a file; of a live source, `most` times `length`, one a second."""
    if not source.info.live:
        yield from source
        return
    looks, left, wanted = 0, 0, -math.inf
    for frame in source:
        now = float(frame.time) if frame.captured is None else frame.captured
        if left == 0:
            if now < wanted:
                continue
            left = length
        yield frame
        left -= 1
        if left == 0:
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
