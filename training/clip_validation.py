"""How a network with a memory does on clips: frame by frame, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from torch import nn

from derain.core.metrics import score
from derain.core.pairs import Pair, Picture
from derain.core.synthetic.rain import LINES, PRESETS, rain_on_clip
from derain.models.registry import NetworkFacts
from derain.models.video_network import VideoNetwork
from derain.models.video_stream import VideoStream
from derain.training.clips import TrainingClip
from derain.training.pack import middle
from derain.training.validation import (
    DerainPicture,
    Measured,
    Result,
    mean_score,
    sample_sheet,
)

CLIP_FRAMES = 12  # of a validation clip that are measured
STEADY_FROM = 4  # frames after which a memory is full
CLIP_SIDE = 192  # pixels of their middle
RAIN = "moderate"  # never drawn from the training's mixture
_SEED = 1


def stream_with(model: nn.Module, facts: NetworkFacts) -> DerainPicture:
    """`model`, in evaluation mode, as a function of one frame after another."""
    return VideoStream(VideoNetwork(model, facts)).derain


def score_clip(
    derain: DerainPicture,
    pairs: Iterable[Pair],
    every: int = 1,
    *,
    images: bool = False,
) -> list[Result]:
    """Derain every frame in order; compare every so many, the first one included.

    Args:
        derain: Remembers.
        pairs: The frames of one clip, in order.
        every: Which are compared: numbers 0, `every`, 2 `every` and so on.
        images: Whether images are kept.
    """
    results = []
    for index, pair in enumerate(pairs):
        image = derain(pair.rainy)
        if index % every == 0:
            scores = score(image, pair.clean), score(pair.rainy, pair.clean)
            results.append(Result(pair.name, *scores, image if images else None))
    return results


def flicker(frames: Sequence[Picture]) -> float:
    """Mean absolute change from frame to frame, in grey levels, of a still scene."""
    changes = [
        np.abs(a.astype(np.int16) - b.astype(np.int16)).mean()
        for a, b in itertools.pairwise(frames)
    ]
    return float(np.mean(changes))


class ClipValidation:
    """Measures on clips that were not trained on, in a rain of one kind."""

    def __init__(self, clips: Sequence[TrainingClip]) -> None:
        """Let it rain on the clips.

        Args:
            clips: Clean ones.
        """
        self._clips = [rainy_pairs(clip) for clip in clips]

    def __call__(self, network: nn.Module, facts: NetworkFacts) -> Measured:
        """What the network makes of the clips after the first frames, and of those."""
        first, steady, shown, samples = [], [], [], []
        for pairs in self._clips:
            results = score_clip(stream_with(network, facts), pairs, images=True)
            first.append(results[0].score)
            steady += [result.score for result in results[STEADY_FROM:]]
            shown += pairs[-2:]
            samples += results[-2:]
        mean, start = mean_score(steady or first), mean_score(first)
        figures = {
            "psnr_db": mean.psnr_db,
            "ssim": mean.ssim,
            "first_frame_psnr_db": start.psnr_db,
        }
        return Measured(figures, sample_sheet(shown, samples))


def rainy_pairs(clip: TrainingClip) -> list[Pair]:
    """The middles of the first frames of `clip`, in the rain and without."""
    clean = [
        np.ascontiguousarray(middle(frame, CLIP_SIDE))
        for frame in clip.frames[:CLIP_FRAMES]
    ]
    settings = PRESETS[RAIN].scaled(clip.frames[0].shape[0] / LINES)
    return [
        Pair(f"{clip.name}/{index}", rainy, frame)
        for index, (rainy, frame) in enumerate(
            zip(rain_on_clip(clean, settings, _SEED), clean, strict=True)
        )
    ]
