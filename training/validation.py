"""How a network does on pairs of pictures: scores, their means, and summaries."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from derain.core.metrics import Score, score
from derain.core.pairs import Pair, Picture
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import derain_frame

MOST_PIXELS = 2**21  # derained at once: 1920x1088 fits
OVERLAP = 64  # rows that a strip sees of its neighbours

# Takes a rainy picture, `(H, W, 3)` uint8 BGR, and returns it without the rain.
DerainPicture = Callable[[Picture], Picture]


class Measured(NamedTuple):
    """A validation: `figures` for the log, ``psnr_db`` and ``ssim`` among them."""

    figures: dict[str, float]
    sample: Picture


# Measures a network, in evaluation mode, on what it was not trained on.
Validation = Callable[[nn.Module, NetworkFacts], Measured]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one pair.

    Attributes:
        name: The pair's.
        score: The derained picture against the clean one.
        rainy: The rainy picture against the clean one.
        image: The derained picture, where it was to be kept.
    """

    name: str
    score: Score
    rainy: Score
    image: Picture | None = None


def score_pairs(
    derain: DerainPicture, pairs: Iterable[Pair], keep: int = 0
) -> list[Result]:
    """Derain every rainy picture and compare; the first `keep` images are kept."""
    results = []
    for index, pair in enumerate(pairs):
        image = derain(pair.rainy)
        results.append(
            Result(
                name=pair.name,
                score=score(image, pair.clean),
                rainy=score(pair.rainy, pair.clean),
                image=image.copy() if index < keep else None,
            )
        )
    return results


class PairValidation:
    """Measures on pairs, one by one."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """Note the pairs, of which the first four are drawn."""
        self._pairs = pairs

    def __call__(self, network: nn.Module, facts: NetworkFacts) -> Measured:
        """Mean PSNR and SSIM over the pairs."""
        results = score_pairs(derain_with(network, facts), self._pairs, keep=4)
        mean = mean_score([result.score for result in results])
        figures = {"psnr_db": mean.psnr_db, "ssim": mean.ssim}
        return Measured(figures, sample_sheet(self._pairs, results))


def sample_sheet(pairs: Sequence[Pair], results: Sequence[Result]) -> Picture:
    """Rainy, derained and clean of every pair whose image was kept, one below another.

    Cut at the right to the narrowest; `(H, W, 3)` uint8 BGR.
    """
    rows = [
        np.hstack([pair.rainy, result.image, pair.clean])
        for pair, result in zip(pairs, results, strict=True)
        if result.image is not None
    ]
    width = min(row.shape[1] for row in rows)
    return np.vstack([row[:, :width] for row in rows])


def mean_score(scores: Sequence[Score]) -> Score:
    """Mean PSNR and mean SSIM, as papers print them."""
    psnr_db, ssim = np.mean(np.asarray(scores, np.float64), axis=0)
    return Score(float(psnr_db), float(ssim))


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of `results` as a JSON object; an infinite PSNR is null."""
    mean = mean_score([result.score for result in results])
    rainy = mean_score([result.rainy for result in results])
    return {
        "pictures": len(results),
        "psnr_db": finite(mean.psnr_db),
        "ssim": round(mean.ssim, 4),
        "rainy": {"psnr_db": finite(rainy.psnr_db), "ssim": round(rainy.ssim, 4)},
    }


def dry_summary(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of pictures without rain, each against itself, as a JSON object."""
    psnrs = [result.score.psnr_db for result in results]
    return {
        "pictures": len(results),
        "mean_psnr_db": finite(float(np.mean(psnrs))),
        "least_psnr_db": finite(min(psnrs)),
    }


def finite(psnr_db: float) -> float | None:
    """`psnr_db` for JSON, which has no infinity: null stands for it."""
    return round(psnr_db, 3) if math.isfinite(psnr_db) else None


def derain_with(model: nn.Module, facts: NetworkFacts) -> DerainPicture:
    """`model`, in evaluation mode, as a function from picture to picture."""
    return functools.partial(derain_frame, model, facts)


def in_strips(
    derain: DerainPicture, most_pixels: int = MOST_PIXELS, overlap: int = OVERLAP
) -> DerainPicture:
    """`derain`, which gets pictures of more than `most_pixels` in strips.

    A network that looks no further than `overlap` pixels does not notice. Photographs
    of 8 megapixels, of which the test sets hold a few, would take some 20 GB.
    """

    def derain_strips(rainy: Picture) -> Picture:
        height, width = rainy.shape[:2]
        if height * width <= most_pixels:
            return derain(rainy)
        image = np.empty_like(rainy)
        step = max(most_pixels // width - 2 * overlap, overlap)
        for top in range(0, height, step):
            above = min(overlap, top)
            bottom = min(top + step, height)
            strip = rainy[top - above : min(bottom + overlap, height)]
            image[top:bottom] = derain(strip)[above : above + bottom - top]
        return image

    return derain_strips
