"""From a float graph and frames to a calibration: observe, choose ranges, judge."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.cache import Cache, graph_hash, key_of
from derain.calibration.frames import FrameStore
from derain.calibration.gate import Gate, Limits
from derain.calibration.histograms import Histogram
from derain.calibration.judge import HeldOut, Judge, psnr_of
from derain.calibration.layers import Layer, concat_groups, find_layers
from derain.calibration.observe import Observation, observe
from derain.calibration.ranges import METHODS, Method
from derain.calibration.record import Calibration, fingerprint
from derain.calibration.sensitivity import local_errors

# Methods are compared on as many frames as make four of 640x360, two to eight.
_AUTO_FRAMES, _AUTO_MOST, _AUTO_PIXELS = 2, 8, 4 * 640 * 360
# Sharing a range over a concatenation costs its narrower parts this factor in
# resolution at most (1.9 dB of their own noise).
_SHARED_FACTOR = 1.25
_TOOLS = ("derain", "onnx-ir", "onnxruntime", "numpy")

Means = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to calibrate.

    Attributes:
        method: How ranges are found; ``auto`` measures.
        limits: What the gate asks for.
        correct_bias: Take off the biases what rounding the weights shifts on average.
    """

    method: Method = "auto"
    limits: Limits = field(default_factory=Limits)
    correct_bias: bool = True


def calibrate(
    model: ir.Model,
    store: FrameStore,
    options: Options,
    cache: Cache,
    *,
    pairs: Sequence[HeldOut] = (),
    note: Callable[[str], None] = lambda text: None,
) -> Calibration:
    """Find ranges and the layers that can run in INT8.

    Args:
        model: A frame-to-frame FP32 graph; ``derain`` nodes have bodies.
        store: Frames.
        options: How.
        cache: What was measured before.
        pairs: Pictures with their truth, judged beside the held-out frames.
        note: Told what is going on, a line at a time.

    Raises:
        CalibrationError: The graph cannot be INT8, or must not.
    """
    layers = find_layers(model)
    judged = [*(s.held_out() for s in store.held_out), *pairs]
    seen_key = key_of("seen", graph_hash(model), store.digest)
    verdict_key = key_of(
        "verdict", seen_key, json.dumps(asdict(options)), _digest(pairs)
    )
    known = cache.get(verdict_key)
    if known is not None:
        note("found in the cache: nothing has changed since")
        return Calibration.from_json(known)
    observations, macs = _observe(model, layers, store, cache, seen_key, note)
    means = None
    if options.correct_bias:
        means = {k: o.mean.astype(np.float32) for k, o in observations.items()}
    method, ranges = _ranges(model, layers, observations, means, store, options, note)
    gate = Gate(
        model,
        layers,
        macs,
        ranges=ranges,
        means=means,
        judge=Judge(model, judged),
        limits=options.limits,
        note=note,
    )
    verdict = gate.decide()
    tools = {name: importlib.metadata.version(name) for name in _TOOLS}
    now = datetime.datetime.now(datetime.timezone.utc)
    made = Calibration(
        graph=fingerprint(model),
        method=method,
        ranges={k: float(v) for k, v in ranges.items()},
        means={k: [float(f"{x:.7g}") for x in v] for k, v in (means or {}).items()},
        int8=tuple(layer.name for layer in layers if layer.name in verdict.int8),
        macs=macs,
        curve=[step.to_json() for step in verdict.curve],
        costs={k: round(psnr_of(v), 2) for k, v in verdict.costs.items()},
        frames={
            "source": store.description,
            "frames": len(store.chosen),
            "held_out": len(store.held_out),
            "pairs": len(pairs),
            "seen": store.seen,
            "repeated": store.repeated,
            "resized": store.resized,
            "sha256": store.digest,
        },
        tools=tools,
        created=now.isoformat(timespec="seconds"),
    )
    cache.put(verdict_key, asdict(made))
    return made


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


def _digest(pairs: Sequence[HeldOut]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(pair.rainy.tobytes())
        if pair.clean is not None:
            digest.update(pair.clean.tobytes())
    return digest.hexdigest()


def _observe(
    model: ir.Model,
    layers: Sequence[Layer],
    store: FrameStore,
    cache: Cache,
    key: str,
    note: Callable[[str], None],
) -> tuple[dict[str, Observation], dict[str, int]]:
    known = cache.get(key)
    if known is not None:
        note("ranges' histograms found in the cache")
        return {
            name: Observation(
                Histogram.from_json(seen["histogram"]),
                np.asarray(seen["mean"]),
                seen["frames"],
            )
            for name, seen in known["tensors"].items()
        }, known["macs"]
    observations, macs = observe(model, layers, store.frames())
    tensors: dict[str, Any] = {
        name: {
            "histogram": seen.histogram.to_json(),
            "mean": seen.mean.tolist(),
            "frames": seen.frames,
        }
        for name, seen in observations.items()
    }
    cache.put(key, {"tensors": tensors, "macs": macs})
    return observations, macs


def _ranges(
    model: ir.Model,
    layers: Sequence[Layer],
    observations: Mapping[str, Observation],
    means: Means | None,
    store: FrameStore,
    options: Options,
    note: Callable[[str], None],
) -> tuple[str, dict[str, float]]:
    """The method that was taken, and the range of each tensor."""
    groups = concat_groups(model, observations)

    def of(method: str) -> dict[str, float]:
        find = METHODS[method].find
        found = {name: find(seen.histogram) for name, seen in observations.items()}
        return share_ranges(groups, found)

    if options.method != "auto":
        return options.method, of(options.method)
    pixels = store.chosen[0].rainy[..., 0].size
    count = min(max(_AUTO_FRAMES, _AUTO_PIXELS // pixels), _AUTO_MOST)
    every = max(1, len(store.chosen) // count)
    frames = [s.held_out() for s in store.chosen[::every][:count]]
    candidates = {method: of(method) for method in METHODS}
    candidates["each tensor's best"] = share_ranges(
        groups,
        _best_each(model, layers, candidates, means, [f.rainy for f in frames]),
    )
    judge = Judge(model, frames)
    best, best_db = "", -1.0
    for method, ranges in candidates.items():
        gate = Gate(
            model,
            layers,
            dict.fromkeys((x.name for x in layers), 1),
            ranges=ranges,
            means=means,
            judge=judge,
            limits=options.limits,
        )
        names = [layer.name for layer in layers if not layer.feeds_argmax]
        psnr_db = judge.score(gate.int8(names)).psnr_db
        note(f"ranges by {method}: {psnr_db:.2f} dB from FP32")
        if psnr_db > best_db:
            best, best_db = method, psnr_db
    return f"auto: {best}", candidates[best]


def _best_each(
    model: ir.Model,
    layers: Sequence[Layer],
    candidates: Mapping[str, Mapping[str, float]],
    means: Means | None,
    frames: Sequence[NDArray[np.uint8]],
) -> dict[str, float]:
    """For each tensor the range with the least error in what reads it."""
    best: dict[str, tuple[float, float]] = {}
    for ranges in candidates.values():
        errors = local_errors(model, layers, ranges, means, frames)
        total: dict[str, float] = {}
        for layer in layers:
            total[layer.tensor] = total.get(layer.tensor, 0.0) + errors[layer.name]
        for tensor, error in total.items():
            if tensor not in best or error < best[tensor][0]:
                best[tensor] = error, ranges[tensor]
    return {tensor: reach for tensor, (_, reach) in best.items()}
