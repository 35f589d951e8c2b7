"""From a float graph and frames to a calibration: shape, observe, choose, judge."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from derain.calibration.accuracy_control import Gate, Limits
from derain.calibration.cache import Cache, graph_hash, key_of
from derain.calibration.calibration_file import Calibration, RefusedError, fingerprint
from derain.calibration.choose import choose_factors, choose_ranges
from derain.calibration.equalization import Factors, equalise
from derain.calibration.frame_store import FrameStore
from derain.calibration.histograms import Histogram
from derain.calibration.layers import Layer, find_layers, tensor_keys
from derain.calibration.observers import Observation, observe
from derain.calibration.ranges import Method
from derain.calibration.scoring import HeldOut, Judge, psnr_of

_log = logging.getLogger(__name__)

_TOOLS = ("derain", "onnx-ir", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to calibrate.

    Attributes:
        method: How ranges are found; ``auto`` measures.
        limits: What the gate asks for.
        equalise: Bring channels to one reach where that helps, as measured.
        correct_bias: Take off the biases what rounding the weights shifts on average:
            -0.1 to 0.2 dB nearer to FP32, qsnet by three methods.
    """

    method: Method = "auto"
    limits: Limits = field(default_factory=Limits)
    equalise: bool = True
    correct_bias: bool = True


def calibrate(
    model: ir.Model,
    store: FrameStore,
    options: Options,
    cache: Cache,
    *,
    pairs: Sequence[HeldOut] = (),
) -> Calibration:
    """Find ranges and the layers that can run in INT8.

    Args:
        model: A frame-to-frame FP32 graph; ``derain`` nodes have bodies.
        store: Frames.
        options: How.
        cache: What was measured before.
        pairs: Pictures with their truth, judged beside the held-out frames.

    Raises:
        CalibrationError: The graph cannot be INT8.
        RefusedError: It must not.
    """
    layers = find_layers(model)
    judged = [*(s.held_out() for s in store.held_out), *pairs]
    frames_key = key_of(graph_hash(model), store.digest)
    verdict_key = key_of(
        "verdict", frames_key, json.dumps(asdict(options)), _digest(pairs)
    )
    known = cache.get(verdict_key)
    if known is not None:
        _log.info("found in the cache: nothing has changed since")
        return _or_refused(
            Calibration.from_json(known["calibration"]), known["refusal"], store, pairs
        )
    graph = fingerprint(model)
    factors = _factors(model, store, cache, frames_key) if options.equalise else {}
    model = model.clone()
    equalise(model, factors)
    seen_key = key_of("seen", graph_hash(model), store.digest)
    observations, macs = _observe(model, layers, store, cache, seen_key)
    means = None
    if options.correct_bias:
        means = {k: o.mean.astype(np.float32) for k, o in observations.items()}
    method, ranges = choose_ranges(
        options.method, model, layers, observations, means, store
    )
    gate = Gate(
        model,
        layers,
        macs,
        ranges=ranges,
        means=means,
        judge=Judge(model, judged),
        limits=options.limits,
    )
    verdict = gate.decide()
    keys = tensor_keys(layers)
    made = Calibration(
        graph=graph,
        method=method,
        ranges={keys[k]: float(v) for k, v in ranges.items()},
        means={
            keys[k]: [float(f"{x:.7g}") for x in v] for k, v in (means or {}).items()
        },
        factors={keys[k]: v.tolist() for k, v in factors.items()},
        int8=tuple(layer.name for layer in layers if layer.name in verdict.int8),
        macs=macs,
        curve=[step.to_json() for step in verdict.curve],
        kept={layer.name: layer.stays for layer in layers if layer.stays},
        costs={k: round(psnr_of(v), 2) for k, v in verdict.costs.items()},
        tools={name: importlib.metadata.version(name) for name in _TOOLS},
    )
    cache.put(verdict_key, {"calibration": asdict(made), "refusal": verdict.refusal})
    return _or_refused(made, verdict.refusal, store, pairs)


def _or_refused(
    made: Calibration, refusal: str, store: FrameStore, pairs: Sequence[HeldOut]
) -> Calibration:
    """`made` with where its frames came from in this run, if there is no `refusal`."""
    now = datetime.datetime.now(datetime.timezone.utc)
    made = replace(
        made,
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
        created=now.isoformat(timespec="seconds"),
    )
    if refusal:
        raise RefusedError(refusal, made)
    return made


def _digest(pairs: Sequence[HeldOut]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.rainy.shape} {pair.height} {pair.width} ".encode())
        digest.update(pair.rainy.tobytes())
        if pair.clean is not None:
            digest.update(pair.clean.tobytes())
    return digest.hexdigest()


def _factors(
    model: ir.Model,
    store: FrameStore,
    cache: Cache,
    key: str,
) -> Factors:
    key = key_of("factors", key)
    known = cache.get(key)
    if known is None:
        factors = choose_factors(model, store)
        cache.put(key, {"factors": {k: v.tolist() for k, v in factors.items()}})
        return factors
    return {k: np.asarray(v, np.float32) for k, v in known["factors"].items()}


def _observe(
    model: ir.Model,
    layers: Sequence[Layer],
    store: FrameStore,
    cache: Cache,
    key: str,
) -> tuple[dict[str, Observation], dict[str, int]]:
    known = cache.get(key)
    if known is not None:
        _log.info("ranges' histograms found in the cache")
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
