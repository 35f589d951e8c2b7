"""The figures of a record: how trained weights do on what nobody trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from derain.core.pairs import Pair, Picture, open_pairs
from derain.core.synthetic.rain import LINES, PRESETS, rain_on_clip
from derain.models.registry import NetworkFacts
from derain.training.clip_validation import flicker, score_clip, stream_with
from derain.training.data import dry
from derain.training.pack import middle
from derain.training.validation import (
    derain_with,
    dry_summary,
    in_strips,
    score_pairs,
    summary,
)

VIDEO_EVERY = 4  # frames of a clip are much alike
DRY_EVERY = 4
METRIC = "PSNR and SSIM on Y, as derain.core.metrics says"
COMPARED_FRAMES = 24  # of a clip, where only the storage of weights is compared
STILL_EVERY = 12  # of the test pictures: still scenes in moving rain
STILL_SIDE, STILL_FRAMES, STILL_RAIN = 256, 8, "moderate"


def measure(
    network: nn.Module,
    facts: NetworkFacts,
    test: Path,
    video: Path,
    every: int = 1,
    *,
    with_dry: bool = True,
) -> dict[str, Any]:
    """The figures of a record, over every so many of the pictures, as their names say.

    Without those of dry pictures if not `with_dry`.
    """
    derain = in_strips(derain_with(network, facts))

    def some(folder: Path, step: int = 1) -> Iterator[Pair]:
        return islice(open_pairs(folder), 0, None, every * step)

    pairs = {
        "pairs/test" + (f", every {every}th picture" if every > 1 else ""): summary(
            score_pairs(derain, some(test))
        ),
        f"video/a1, every {VIDEO_EVERY * every}th frame": summary(
            score_pairs(derain, some(video, VIDEO_EVERY))
        ),
    }
    if not with_dry:
        return pairs
    return pairs | {
        "metric": METRIC,
        f"dry pairs/test, every {DRY_EVERY * every}th picture": dry_summary(
            score_pairs(derain, dry(some(test, DRY_EVERY)))
        ),
    }


def measure_memory(
    network: nn.Module,
    facts: NetworkFacts,
    test: Path,
    video: Path,
    every: int = 1,
    *,
    with_dry: bool = True,
) -> dict[str, Any]:
    """`measure` for a network with a memory.

    It sees all frames of the clip in order, of which every so many are judged, and each
    test picture as the first frame of a stream. Dry are the clean frames of the clip.
    """

    def alone(picture: Picture) -> Picture:
        return stream_with(network, facts)(picture)

    def clip() -> Iterator[Pair]:
        return islice(open_pairs(video), None if with_dry else COMPARED_FRAMES)

    judged = VIDEO_EVERY * every if with_dry else VIDEO_EVERY
    tests = islice(open_pairs(test), 0, None, every)
    figures = {
        "pairs/test" + (f", every {every}th picture" if every > 1 else ""): summary(
            score_pairs(in_strips(alone), tests)
        ),
        f"video/a1, every {judged}th frame": summary(
            score_clip(stream_with(network, facts), clip(), judged)
        ),
    }
    if not with_dry:
        return figures
    return figures | {
        "metric": METRIC,
        f"dry video/a1, every {judged}th frame": dry_summary(
            score_clip(stream_with(network, facts), dry(clip()), judged)
        ),
        "flicker": _flickers(network, facts, test, every),
    }


def _flickers(
    network: nn.Module, facts: NetworkFacts, test: Path, every: int
) -> dict[str, Any]:
    """Change from frame to frame of still scenes in moving rain, in grey levels."""
    before: list[float] = []
    after: list[float] = []
    for pair in islice(open_pairs(test), 0, None, every * STILL_EVERY):
        still = np.ascontiguousarray(middle(pair.clean, STILL_SIDE))
        rain = PRESETS[STILL_RAIN].scaled(pair.clean.shape[0] / LINES)
        frames = list(rain_on_clip([still] * STILL_FRAMES, rain, seed=len(before)))
        derain = stream_with(network, facts)
        before.append(flicker(frames))
        after.append(flicker([derain(frame) for frame in frames][1:]))
    return {
        "still scenes": len(before),
        "rainy": round(float(np.mean(before)), 3),
        "derained": round(float(np.mean(after)), 3),
    }
