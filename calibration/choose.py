"""What measuring decides: whether channels are equalised, and how ranges are found."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from derain.calibration.equalization import Factors, equalise, find_factors
from derain.calibration.frame_store import FrameStore, StoredFrame
from derain.calibration.layers import Layer, concat_groups, find_layers
from derain.calibration.observers import Observation, observe
from derain.calibration.options import Method
from derain.calibration.qdq import insert_qdq
from derain.calibration.ranges import METHODS
from derain.calibration.scoring import Scorer
from derain.calibration.sensitivity import Means, local_errors
from derain.calibration.session import Shot

_log = logging.getLogger(__name__)

# Methods are compared on as many frames as make four of 640x360, two to eight.
_AUTO_FRAMES, _AUTO_MOST, _AUTO_PIXELS = 2, 8, 4 * 640 * 360
# Sharing a range over a concatenation costs its narrower parts this factor in
# resolution at most (1.9 dB of their own noise).
_SHARED_FACTOR = 1.25
# Equalising is tried on so many frames, with the ranges of one method, and must bring
# so much. All layers of qsnet in INT8, training rain at 480x320, the best of three
# methods each: 42.7 dB from FP32 without, 44.5 dB with.
_EQUALISE_FRAMES = 4
_EQUALISE_METHOD: Method = "percentile"
_EQUALISE_DB = 0.1


def choose_factors(model: ir.Model, store: FrameStore) -> Factors:
    """What to divide channels by; nothing where that does not bring INT8 nearer.

    Args:
        model: A float graph; ``derain`` nodes have bodies.
        store: Frames.
    """
    shots = [frame.shot for frame in _spread(store, _EQUALISE_FRAMES)]
    factors = find_factors(model, shots)
    if not factors:
        return {}
    changed = model.clone()
    equalise(changed, factors)
    scorer = Scorer(model, [s.held_out() for s in _spread(store, _AUTO_FRAMES)])
    before, after = (
        scorer.score(_quick_int8(graph, shots)).psnr_db for graph in (model, changed)
    )
    kept = after >= before + _EQUALISE_DB
    _log.info(
        f"channels of {len(factors)} tensors equalised: {before:.2f} dB from FP32 "
        f"without, {after:.2f} dB with{'' if kept else '; left as they are'}"
    )
    return factors if kept else {}


def choose_ranges(
    method: Method,
    model: ir.Model,
    layers: Sequence[Layer],
    observations: Mapping[str, Observation],
    means: Means | None,
    store: FrameStore,
) -> tuple[str, dict[str, float]]:
    """How far INT8 reaches for each tensor.

    Args:
        method: How; ``auto`` measures all methods, and a mixture of them.
        model: The float graph.
        layers: Its layers.
        observations: Of the tensors that they read.
        means: For biases; see `insert_qdq`.
        store: Frames.

    Returns:
        The method in words, and the ranges.
    """
    groups = concat_groups(model, observations)

    def of(method: str) -> dict[str, float]:
        find = METHODS[method].find
        found = {name: find(seen.histogram) for name, seen in observations.items()}
        return share_ranges(groups, found)

    if method != "auto":
        return method, of(method)
    pixels = store.chosen[0].rainy[..., 0].size
    count = min(max(_AUTO_FRAMES, _AUTO_PIXELS // pixels), _AUTO_MOST)
    frames = [s.held_out() for s in _spread(store, count)]
    candidates = {method: of(method) for method in METHODS}
    candidates["each tensor's best"] = share_ranges(
        groups,
        _best_each(model, layers, candidates, means, [f.shot for f in frames]),
    )
    scorer = Scorer(model, frames)
    best, best_db = "", -1.0
    for name, ranges in candidates.items():
        psnr_db = scorer.score(_int8(model, ranges, means)).psnr_db
        _log.info(f"ranges by {name}: {psnr_db:.2f} dB from FP32")
        if psnr_db > best_db:
            best, best_db = name, psnr_db
    return f"auto: {best}", candidates[best]


def share_ranges(
    groups: Sequence[frozenset[str]], ranges: Mapping[str, float]
) -> dict[str, float]:
    """`ranges` with one for a concatenation and its parts, where that costs little."""
    shared = dict(ranges)
    for group in groups:
        largest = max(ranges[name] for name in group)
        if all(ranges[name] * _SHARED_FACTOR >= largest for name in group):
            shared.update(dict.fromkeys(group, largest))
    return shared


def _spread(store: FrameStore, count: int) -> list[StoredFrame]:
    """About `count` of the frames for ranges, clips of them evenly taken."""
    starts = [k for k, each in enumerate(store.chosen) if each.start is not None]
    clips = [
        store.chosen[first:last]
        for first, last in zip(starts, [*starts[1:], None], strict=True)
    ]
    wanted = max(1, count * len(clips) // len(store.chosen))
    taken = clips[:: max(1, len(clips) // wanted)][:wanted]
    return [frame for clip in taken for frame in clip]


def _quick_int8(model: ir.Model, shots: Sequence[Shot]) -> ir.Model:
    """`model` with every layer that may be in INT8, ranges from `shots` alone."""
    layers = find_layers(model)
    observations, _ = observe(model, layers, shots)
    find = METHODS[_EQUALISE_METHOD].find
    ranges = {name: find(seen.histogram) for name, seen in observations.items()}
    return _int8(model, ranges, None)


def _int8(
    model: ir.Model, ranges: Mapping[str, float], means: Means | None
) -> ir.Model:
    copy = model.clone()
    names = {layer.name for layer in find_layers(model) if not layer.stays}
    insert_qdq(copy, ranges, names, means)
    return copy


def _best_each(
    model: ir.Model,
    layers: Sequence[Layer],
    candidates: Mapping[str, Mapping[str, float]],
    means: Means | None,
    shots: Sequence[Shot],
) -> dict[str, float]:
    """For each tensor the range with the least error in what reads it."""
    best: dict[str, tuple[float, float]] = {}
    for ranges in candidates.values():
        errors = local_errors(model, layers, ranges, means, shots)
        total: dict[str, float] = {}
        for layer in layers:
            total[layer.tensor] = total.get(layer.tensor, 0.0) + errors[layer.name]
        for tensor, error in total.items():
            if tensor not in best or error < best[tensor][0]:
                best[tensor] = error, ranges[tensor]
    return {tensor: reach for tensor, (_, reach) in best.items()}
