"""Clips of clean frames, and batches of short rainy clips from them.

For networks with a memory. Half of the clips of a batch are crops of real ones, half
are photographs under a moving camera, each in a rain that falls on from frame to frame.
A batch is a function of the seed and its number alone, as in `derain.training.data`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from derain.core.errors import MediaError, ShapeError
from derain.core.pairs import Picture
from derain.core.pictures import picture_paths, read_picture
from derain.core.synthetic.camera import record
from derain.core.synthetic.mixture import RainMixture
from derain.core.synthetic.motion import Motion, moving_camera, with_confusers
from derain.core.synthetic.weather import weather_on_clip

REAL = 0.5  # part of the samples that are of real clips, where there are photographs
LEAST_SCALE, MOST_SCALE = 0.8, 1.3  # at which crops of real clips are seen


class TrainingClip(NamedTuple):
    """Frames in order, of one size; each `(H, W, 3)` uint8 BGR."""

    name: str
    frames: list[Picture]


def clip_folders(folder: Path) -> list[Path]:
    """The folders of clips in `folder`, in order of their names.

    Raises:
        MediaError: It cannot be read, or holds none.
    """
    try:
        found = sorted(x for x in folder.iterdir() if x.is_dir())
    except OSError as error:
        raise MediaError(f"{folder} cannot be read: {error.strerror}") from error
    found = [each for each in found if not each.name.startswith(".")]
    if not found:
        raise MediaError(
            f"{folder} holds no folders; wanted one for each clip, of its frames as "
            "pictures whose names are in order"
        )
    return found


def open_clips(folder: Path, least: int = 1) -> Iterator[TrainingClip]:
    """The clips in `folder`: a folder of pictures each, in order of their names.

    Args:
        folder: Of the folders.
        least: Frames that a clip must have.

    Raises:
        MediaError: There are none, a folder holds no pictures, or too few.
        ShapeError: The frames of a clip are of different sizes.
    """
    for place in clip_folders(folder):
        paths = picture_paths(place)
        if len(paths) < least:
            raise MediaError(
                f"{place} holds {len(paths)} frames, wanted {least} or more: a clip "
                "must be as long as a sample, see --frames"
            )
        frames = [read_picture(path) for path in paths]
        (height, width), *_ = sizes = [frame.shape[:2] for frame in frames]
        for path, (high, wide) in zip(paths, sizes, strict=True):
            if (high, wide) != (height, width):
                raise ShapeError(
                    f"{path} is {wide}x{high}, the clip's first frame {width}x{height}"
                )
        yield TrainingClip(place.name, frames)


class ClipSource:
    """Batches of short rainy clips."""

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        photographs: Sequence[Picture],
        *,
        frames: int,
        crop: int,
        batch: int,
        dry: float,
        mixture: RainMixture,
        seed: int,
    ) -> None:
        """Prepare to cut samples.

        Args:
            clips: Real motion, each of `frames` frames at least.
            photographs: To move a camera over; half of the samples, where there are
                clips too.
            frames: Of a sample.
            crop: Height and width of a sample.
            batch: Samples a batch.
            dry: Part of the samples without rain.
            mixture: What rain, camera and motion are drawn from.
            seed: Which batches.

        Raises:
            MediaError: There is nothing to train on, or a picture is smaller than a
                crop.
        """
        if not clips and not photographs:
            raise MediaError("there are no clips to train on; give --clips or --clean")
        firsts = [clip.frames[0] for clip in clips]
        for height, width in {x.shape[:2] for x in (*firsts, *photographs)}:
            if min(height, width) < crop:
                raise MediaError(
                    f"a picture of {width}x{height} is smaller than a crop of {crop}"
                )
        self._clips, self._photographs = clips, photographs
        self._frames, self._crop, self._batch = frames, crop, batch
        self._dry, self._mixture, self._seed = dry, mixture, seed
        self._real = REAL if photographs else 1.0
        if not clips:
            self._real = 0.0

    def batch(self, step: int) -> tuple[Picture, Picture]:
        """Batch number `step`.

        Returns:
            Rainy and clean clips, each `(N, frames, crop, crop, 3)` uint8 BGR.
        """
        random = np.random.default_rng((self._seed, step))
        samples = [self._one(random) for _ in range(self._batch)]
        rainy, clean = zip(*samples, strict=True)
        return np.stack(rainy), np.stack(clean)

    def _one(self, random: np.random.Generator) -> tuple[Picture, Picture]:
        motion = self._mixture.motion(random)
        times = motion.times(self._frames, random)
        if random.random() < self._real:
            clean = self._of_a_clip(motion, times, random)
        else:
            index = int(random.integers(len(self._photographs)))
            photograph = self._photographs[index]
            clean = moving_camera(photograph, self._crop, motion, times, random)
        if random.random() < 0.5:
            clean = [np.ascontiguousarray(frame[:, ::-1]) for frame in clean]
        rainy = clean
        if random.random() >= self._dry:
            weather = self._mixture.weather(random)
            rainy, clean = weather_on_clip(clean, times, weather, random)
        rainy, clean = record([rainy, clean], self._mixture.camera(random), random)
        return np.stack(rainy), np.stack(clean)

    def _of_a_clip(
        self, motion: Motion, times: Sequence[int], random: np.random.Generator
    ) -> list[Picture]:
        frames = self._clips[int(random.integers(len(self._clips)))].frames
        if times[-1] >= len(frames):
            times = range(len(times))
        first = int(random.integers(len(frames) - times[-1]))
        height, width = frames[0].shape[:2]
        scale = random.uniform(LEAST_SCALE, MOST_SCALE)
        side = min(round(self._crop / scale), height, width)
        top = int(random.integers(height - side + 1))
        left = int(random.integers(width - side + 1))
        seen: list[Picture] = [
            cv2.resize(  # type: ignore[misc]
                frames[first + time][top : top + side, left : left + side],
                (self._crop, self._crop),
                interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
            )
            for time in times
        ]
        if not motion.confusers:
            return seen
        # The motion of the scene is not known: what is added stands still, as a wiper
        # or dirt on a window does.
        seed = int(random.integers(2**31))
        return [
            with_confusers(x, motion.confusers, np.random.default_rng(seed))
            for x in seen
        ]
