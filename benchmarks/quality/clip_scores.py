"""How a clip was derained: frame by frame, and how steady.

The first frame is apart from the steady state, which begins at frame `STEADY_FROM`:
until then a network with a memory has seen less than it will. Drift is what the memory
of all of a clip is worth at its end against one of the last few frames: below zero, an
error grows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from derain.benchmarks.quality.clips import Clip
from derain.benchmarks.quality.derainers import ClipDerainer, DerainClip
from derain.core.errors import DerainError
from derain.core.metrics import CEILING_DB, Score, score
from derain.core.pairs import Pair, Picture
from derain.core.temporal_metrics import FrameMotion, Unrest
from derain.training.validation import finite, mean_score

# As many frames as the proof of an export takes for a beginning
# (`derain.export.drift.ENDS`); windows of five frames are full by then.
STEADY_FROM = 8
_DRIFT_FRAMES = 8  # at the end
_LEAST_FOR_DRIFT = 3 * STEADY_FROM  # frames of a clip


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScore:
    """What became of one frame of a clip.

    Attributes:
        index: Its place in the clip.
        score: The derained frame against the clean one.
        rainy: The rainy frame against the clean one.
        unrest: Of the derained clip from the frame before; None for the first.
        rainy_unrest: The same of the rainy clip.
        clean_warping_mse: The warping error of the clean clip.
        static_share: Part of the frame that stands still in the clean clip.
    """

    index: int
    score: Score
    rainy: Score
    unrest: Unrest | None = None
    rainy_unrest: Unrest | None = None
    clean_warping_mse: float = math.nan
    static_share: float = 0.0


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What became of one clip.

    Attributes:
        name: The clip's.
        length: How many frames it has; all of them were derained.
        frames: Those that were judged, in order.
        drift_db: PSNR of the last frames against that with a memory that began
            `STEADY_FROM` frames before them; None without a memory, and where the clip
            is too short.
    """

    name: str
    length: int
    frames: tuple[FrameScore, ...]
    drift_db: float | None = None

    def figures(self) -> dict[str, Any]:
        """As a JSON object; an infinite PSNR is null, and so is what has no figure.

        PSNR in dB and SSIM on Y are means over the judged frames. Flicker and warping
        error are in grey levels, see `derain.core.temporal_metrics`.
        """
        frames = self.frames
        steady = [frame for frame in frames if frame.index >= STEADY_FROM]
        moved = [frame for frame in frames if frame.unrest is not None]
        scores = [frame.score for frame in frames]
        return {
            "clip": self.name,
            "length": self.length,
            "frames": len(frames),
            **_mean(scores),
            "first": _mean(scores[:1]),
            "steady": _mean([f.score for f in steady]) if steady else None,
            "drift_db": None if self.drift_db is None else _rounded(self.drift_db),
            **_unrest([f.unrest for f in moved], moved),
            "rainy": {
                **_mean([frame.rainy for frame in frames]),
                "first": _mean([frame.rainy for frame in frames[:1]]),
                "steady": _mean([f.rainy for f in steady]) if steady else None,
                **_unrest([f.rainy_unrest for f in moved], moved),
            },
            "clean": {"warping_levels": _root(f.clean_warping_mse for f in moved)},
            "static_share": _rounded(_weighted([f.static_share for f in moved])),
            "over_time": [
                {
                    "frame": frame.index,
                    **_mean([frame.score]),
                    "rainy_psnr_db": finite(frame.rainy.psnr_db),
                }
                for frame in frames
            ],
        }


def score_clip(derainer: ClipDerainer, clip: Clip, every: int = 1) -> ClipResult:
    """Derain all frames of `clip`, and judge every so many, from the first.

    Raises:
        DerainError: It has no frame, or something else than its frames came back.
    """
    frames: list[FrameScore] = []
    before: tuple[Pair, Picture] | None = None
    length = 0
    ends: deque[tuple[Pair, Picture]] = deque(maxlen=STEADY_FROM + _DRIFT_FRAMES)
    for index, (pair, derained) in enumerate(_derained(derainer.clip, clip)):
        length += 1
        if derainer.remembers:
            ends.append((pair, derained.copy()))
        if index % every == 0:
            frames.append(_judge(index, pair, derained, before))
        # The frame before one that is judged is looked at, too.
        before = (pair, derained.copy()) if (index + 1) % every == 0 else None
    if not frames:
        raise DerainError(f"{clip.name} has no frame to measure on")
    drift = _drift(derainer.clip, ends) if length >= _LEAST_FOR_DRIFT else None
    return ClipResult(clip.name, length, tuple(frames), drift)


def mean_figures(results: Sequence[ClipResult]) -> dict[str, Any]:
    """The means over clips, each counting alike, as `ClipResult.figures` has them."""
    each = [result.figures() for result in results]
    counts = {name: sum(f[name] for f in each) for name in ("length", "frames")}
    return {"clips": len(each), **_mean_of(each), **counts, "each": each}


def _derained(derain: DerainClip, clip: Clip) -> Iterator[tuple[Pair, Picture]]:
    """Every frame with what became of it; some are shown ahead of their time."""
    waiting: deque[Pair] = deque()

    def shown() -> Iterator[Picture]:
        for pair in clip.read():
            waiting.append(pair)
            yield pair.rainy

    for derained in derain(shown()):
        yield waiting.popleft(), derained
    if waiting:
        raise DerainError(f"{clip.name}: {len(waiting)} frames did not come back")


def _judge(
    index: int, pair: Pair, derained: Picture, before: tuple[Pair, Picture] | None
) -> FrameScore:
    scores = score(derained, pair.clean), score(pair.rainy, pair.clean)
    if before is None:
        return FrameScore(index=index, score=scores[0], rainy=scores[1])
    old, old_derained = before
    motion = FrameMotion(old.clean, pair.clean)
    return FrameScore(
        index=index,
        score=scores[0],
        rainy=scores[1],
        unrest=motion.unrest(old_derained, derained),
        rainy_unrest=motion.unrest(old.rainy, pair.rainy),
        clean_warping_mse=motion.clean_warping_mse(),
        static_share=motion.static_share,
    )


def _mean(scores: Sequence[Score]) -> dict[str, float | None]:
    mean = mean_score(scores)
    return {"psnr_db": finite(mean.psnr_db), "ssim": round(mean.ssim, 4)}


def _drift(derain: DerainClip, ends: Sequence[tuple[Pair, Picture]]) -> float | None:
    if not ends:
        return None
    again = [each.copy() for each in derain(pair.rainy for pair, _ in ends)]
    gains = [
        _psnr_db(derained, pair) - _psnr_db(afresh, pair)
        for (pair, derained), afresh in list(zip(ends, again, strict=True))[
            STEADY_FROM:
        ]
    ]
    return float(np.mean(gains))


def _psnr_db(derained: Picture, pair: Pair) -> float:
    return min(score(derained, pair.clean).psnr_db, CEILING_DB)


def _unrest(
    unrest: Sequence[Unrest | None], frames: Sequence[FrameScore]
) -> dict[str, float | None]:
    pairs = [(u, f) for u, f in zip(unrest, frames, strict=True) if u is not None]
    flicker = _weighted(
        [u.flicker for u, _ in pairs], [frame.static_share for _, frame in pairs]
    )
    return {
        "flicker_levels": _rounded(flicker),
        "warping_levels": _root([u.warping_mse for u, _ in pairs]),
    }


def _weighted(values: Iterable[float], weights: Iterable[float] | None = None) -> float:
    """The mean of those that are numbers; NaN where none is."""
    value = np.asarray(list(values), np.float64)
    weight = np.ones_like(value) if weights is None else np.asarray(list(weights))
    known = ~np.isnan(value) & (weight > 0)
    if not known.any():
        return math.nan
    return float(np.average(value[known], weights=weight[known]))


def _root(squares: Iterable[float]) -> float | None:
    return _rounded(math.sqrt(_weighted(squares)))


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _mean_of(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of figures of one form, nested or not; text and lists are left out.

    A PSNR of null is infinite, and so is the mean then; any other null is a figure that
    a clip lacks, and does not count.
    """
    mean: dict[str, Any] = {}
    for name in figures[0]:
        values = [each[name] for each in figures]
        known = [value for value in values if value is not None]
        if not known or (name == "psnr_db" and len(known) < len(values)):
            mean[name] = None
        elif isinstance(known[0], dict):
            mean[name] = _mean_of(known)
        elif not isinstance(known[0], (str, list)):
            mean[name] = round(float(np.mean(known)), 4)
    return mean
