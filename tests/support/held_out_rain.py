"""Rain by another recipe than the one that networks here are trained on.

Nothing of `derain.core.synthetic.rain` is used: no drop is drawn. Noise is thresholded,
smeared along the direction of fall, thresholded once more and added, layer by layer, as
rain is made in a paint program; Yang et al., "Deep Joint Rain Detection and Removal
from a Single Image", CVPR 2017, made Rain100L (one kind of streak) and Rain100H (five)
that way. Rain lasts a frame: each has noise of its own.

A network that learnt one renderer by heart shows it here::

    python tests/support/held_out_rain.py CLEAN HELD_OUT --kind heavy --seed 1
    derain-eval --model qsnet --clips HELD_OUT

CLEAN is a folder of a clean clip's frames, or of such folders; HELD_OUT gets a folder
for each, with the folders ``rain`` and ``clean`` in it. Never train on it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from derain.core.errors import DerainError
from derain.core.pictures import SUFFIXES, picture_paths, read_picture, write_picture

LINES = 480  # height of the picture that lengths are in pixels of


@dataclass(frozen=True)
class StreakLayer:
    """One kind of streak.

    Attributes:
        angle_degrees: From the vertical; positive falls to the right.
        length_px: How far noise is smeared.
        width_px: Sigma across the streak.
        share: Part of the pixels that are seeds.
        opacity: Of the brightest streaks.
    """

    angle_degrees: float
    length_px: float
    width_px: float
    share: float
    opacity: float


KINDS = {
    "light": (StreakLayer(4, 22, 0.6, 0.004, 0.55),),
    "moderate": (
        StreakLayer(-3, 16, 0.5, 0.008, 0.40),
        StreakLayer(-5, 34, 0.8, 0.002, 0.60),
    ),
    "heavy": (
        StreakLayer(8, 12, 0.5, 0.012, 0.35),
        StreakLayer(10, 26, 0.7, 0.006, 0.50),
        StreakLayer(7, 44, 1.1, 0.002, 0.65),
        StreakLayer(-6, 18, 0.5, 0.006, 0.35),
        StreakLayer(12, 70, 1.6, 0.0006, 0.70),
    ),
}


def rain_mask(size, layers, seed, frame=0):
    """How much of the light at each pixel comes from rain.

    Args:
        size: `Size` of the picture; lengths are scaled to its height.
        layers: Of streaks.
        seed: Which rain.
        frame: Which frame of it; two have nothing in common.

    Returns:
        `(H, W)` float32 in [0, 1].
    """
    scale = size.height / LINES
    clear = np.ones((size.height, size.width), np.float32)
    for index, layer in enumerate(layers):
        random = np.random.default_rng((seed, frame, index))
        length = max(round(layer.length_px * scale), 3)
        margin = length  # streaks come in from outside
        shape = size.height + 2 * margin, size.width + 2 * margin
        noise = random.normal(0.0, 1.0, shape).astype(np.float32)
        threshold = np.float32(np.quantile(noise, 1 - layer.share / scale))
        seeds = np.maximum(noise - threshold, 0)  # few are bright, many are faint
        smeared = cv2.filter2D(seeds, -1, _line(length, layer.angle_degrees))
        sigma = max(layer.width_px * scale, 0.3)
        streaks = cv2.GaussianBlur(smeared, (0, 0), sigma)
        streaks = streaks[margin:-margin, margin:-margin]
        streaks = np.maximum(streaks - 0.3 * streaks.mean(), 0)
        brightest = float(np.quantile(streaks, 0.998)) or 1.0
        clear *= 1 - layer.opacity * np.minimum(streaks / brightest, 1.0)
    return 1 - clear


def add_held_out_rain(clean, layers, seed, frame=0):
    """`clean`, `(H, W, 3)` uint8 BGR, in the rain."""
    from derain.core.sizes import Size

    size = Size(clean.shape[1], clean.shape[0])
    mask = rain_mask(size, layers, seed, frame)[..., np.newaxis]
    rainy = clean + mask * (250.0 - clean)  # never darker than what is behind
    return np.rint(rainy).astype(np.uint8)


def _line(length, angle_degrees):
    """A line through the middle of a square kernel, of sum 1."""
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    kernel[:, side // 2] = 1
    turn = cv2.getRotationMatrix2D((side // 2, side // 2), angle_degrees, 1.0)
    kernel = cv2.warpAffine(kernel, turn, (side, side))
    return kernel / kernel.sum()


def write_held_out(clean, folder, kind="moderate", seed=0):
    """Write every clip of `clean` into `folder`, in this rain and without.

    Raises:
        MediaError: There is no picture.
        FileExistsError: The folder of a clip exists.
    """
    clips = [clean]
    if not any(path.suffix.lower() in SUFFIXES for path in clean.iterdir()):
        clips = sorted(path for path in clean.iterdir() if path.is_dir())
    for clip in clips:
        target = folder / clip.name
        target.mkdir(parents=True)
        own = zlib.crc32(clip.name.encode())  # whatever other clips there are
        for kind_of in ("rain", "clean"):
            (target / kind_of).mkdir()
        for index, path in enumerate(picture_paths(clip)):
            picture = read_picture(path)
            rainy = add_held_out_rain(picture, KINDS[kind], seed + own, index)
            write_picture(target / "rain" / f"{path.stem}.png", rainy)
            write_picture(target / "clean" / f"{path.stem}.png", picture)


@click.command()
@click.argument("clean", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(list(KINDS)), default="moderate")
@click.option("--seed", type=click.IntRange(0), default=0)
def main(clean, folder, kind, seed):
    """Write the clips in CLEAN into FOLDER, in held-out rain and without."""
    try:
        write_held_out(clean, folder, kind, seed)
    except (DerainError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
