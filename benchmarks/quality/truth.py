"""How good the derained pictures are: against PyTorch, and against the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.runners import Runner
from derain.benchmarks.report.record import Quality, Truth
from derain.core.frame_tensors import mirror_to
from derain.core.metrics import Score, psnr_db, score
from derain.core.pairs import Pair, open_pairs
from derain.core.sizes import Size


def compare(derained: Frame, reference: Frame) -> Quality:
    """How far `derained` is from `reference`."""
    difference = np.abs(derained.astype(np.int16) - reference.astype(np.int16))
    return Quality(
        psnr_db=_finite(psnr_db(derained, reference)),
        identical=float(np.mean(difference == 0)),
        max_levels=int(difference.max()),
    )


def read_pairs(folder: Path, most: int) -> list[Pair]:
    """Up to `most` pairs of `folder`, spread evenly over it.

    Raises:
        MediaError: There are none.
    """
    return list(open_pairs(folder, most))


def measure_truth(runner: Runner, pairs: Sequence[Pair], size: Size) -> Truth:
    """PSNR and SSIM on Y over `pairs`, which are cut or padded to the frames' `size`.

    What was padded is not counted. A network sees a little less of a picture than
    ``derain-eval`` shows it, so the figures differ in the second decimal.
    """
    scores: list[Score] = []
    rainy: list[Score] = []
    for frame, pair in _fitted(pairs, size):
        (derained,) = runner.derain([frame])
        height, width = pair.clean.shape[:2]
        scores.append(score(derained[:height, :width], pair.clean))
        rainy.append(score(pair.rainy, pair.clean))
    psnr, ssim = np.mean(np.asarray(scores, np.float64), axis=0)
    rainy_psnr, rainy_ssim = np.mean(np.asarray(rainy, np.float64), axis=0)
    return Truth(
        pictures=len(scores),
        psnr_db=_finite(float(psnr)),
        ssim=float(ssim),
        rainy_psnr_db=_finite(float(rainy_psnr)),
        rainy_ssim=float(rainy_ssim),
    )


def _fitted(pairs: Sequence[Pair], size: Size) -> Iterator[tuple[Frame, Pair]]:
    """Frames of `size`, and the pair as far as it is in the frame."""
    for pair in pairs:
        rainy = pair.rainy[: size.height, : size.width]
        clean = pair.clean[: size.height, : size.width]
        yield mirror_to(rainy, size), Pair(pair.name, rainy, clean)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
