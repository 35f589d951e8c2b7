"""From an FP32 graph and frames to a calibration: equalise, observe, choose, control.

frames -> channels equalised -> observers -> ranges -> accuracy control -> calibration
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from derain.calibration.accuracy_control import AccuracyControl, AccuracyLimits
from derain.calibration.apply import fingerprint
from derain.calibration.cache import Cache, default_folder, graph_hash, key_of
from derain.calibration.calibration_file import Calibration
from derain.calibration.choose import choose_factors, choose_ranges
from derain.calibration.data import CalibrationData, read_by, read_data
from derain.calibration.equalization import Factors, equalise
from derain.calibration.files import check_free
from derain.calibration.frame_store import FrameSource, FrameStore
from derain.calibration.layers import Layer, find_layers, tensor_keys
from derain.calibration.observers import Observation, observe
from derain.calibration.options import CalibrationOptions
from derain.calibration.report import write_report
from derain.calibration.scoring import Scorer, psnr_of
from derain.core.bundle import Bundle
from derain.core.errors import CalibrationError
from derain.core.graph_memory import GraphMemory
from derain.core.options import from_keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from derain.calibration.options import CalibrationKeywords

_log = logging.getLogger(__name__)

_TOOLS = ("derain", "onnx-ir", "onnxruntime", "numpy")


_CHANNELS = 3


def calibrate(
    bundle: Bundle | Path | str,
    source: FrameSource,
    *,
    output: Path | str | None = None,
    force: bool = False,
    **options: Unpack[CalibrationKeywords],
) -> Calibration:
    """Find out how a bundle in FP32 can run in INT8.

    Args:
        bundle: In FP32, of any target; a small one is calibrated faster, and what comes
            out is good for any size.
        source: Frames of the camera that it is for, in rain (see ``dry``): what
            `derain.runtime.video.open_source` takes, or `(H, W, 3)` uint8 BGR arrays,
            iterated once; of any size, cropped or mirrored to the bundle's. For a
            bundle with a memory they are in order, as a video's are.
        output: Calibration file; appears whole or not at all. None writes none.
        force: Replace existing files of the names of `output` and of the report.
        **options: See `CalibrationOptions`.

    Returns:
        Ranges of the tensors, and the layers that stay in floating point, with reasons:
        what ``derain.export(..., calibration=...)`` takes, or `output` holds.

    Raises:
        BundleError: `bundle` is none, or damaged.
        CalibrationError: It cannot, or must not, become INT8; or a file exists.
        ConfigError: An option is out of its range.
        MediaError: The frames or pairs cannot be read.
        ShapeError: An array is no frame.

    Example:
        >>> import derain
        >>> made = derain.calibrate("qsnet-fp32-1280x720", "rainy.mp4", output="c.json")
        >>> made.frames["seen"]
        20
    """
    chosen = from_keywords(CalibrationOptions, options)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
    manifest = opened.manifest
    if manifest.precision != "fp32":
        raise CalibrationError(
            f"{opened.folder} is in {manifest.precision}, wanted fp32: run "
            f"derain-export --model {manifest.model} --fp32"
        )
    if output is not None:
        inputs = [opened.folder, *read_by(source, chosen)]
        check_free(Path(output), inputs, force=force)
        if chosen.report and Path(chosen.report).absolute() == Path(output).absolute():
            raise CalibrationError(
                f"--report and --output are both {output}: name a folder for the report"
            )
    model = _frame_graph(opened.model_path)
    memory = GraphMemory(manifest.states, manifest.frame_contract, manifest.look_ahead)
    size = manifest.sizes.optimum
    with read_data(source, chosen, size, memory, force=force) as data:
        made = calibrate_graph(model, data)
    if output is not None:
        made.write(Path(output))
    return made


def _frame_graph(path: Path) -> ir.Model:
    """The graph in `path`.

    Raises:
        CalibrationError: It is none, or not from one uint8 NHWC frame to another.
    """
    try:
        model = ir.load(path)
    # protobuf's error is no built-in, and onnx_ir fails with whatever breaks first.
    except Exception as error:
        raise CalibrationError(
            f"{path} is no ONNX model ({type(error).__name__}); export it again"
        ) from error
    values = [*model.graph.inputs, *model.graph.outputs]
    ends = len(model.graph.inputs), len(model.graph.outputs)
    if (
        ends != (1, 1)
        or not len(model.graph)
        or not all(
            each.dtype == ir.DataType.UINT8
            and each.shape is not None
            and len(each.shape) == 4
            and each.shape[3] == _CHANNELS
            for each in values
        )
    ):
        found = ", ".join(f"{each.name} {each.dtype} {each.shape}" for each in values)
        raise CalibrationError(
            f"{path} is no frame-to-frame graph: wanted one uint8 (1, H, W, 3) input "
            f"and one such output, got {found or 'none'}"
        )
    return model


def calibrate_graph(model: ir.Model, data: CalibrationData) -> Calibration:
    """Find ranges and the layers that can run in INT8.

    Args:
        model: A frame-to-frame FP32 graph; ``derain`` nodes have bodies.
        data: What to calibrate on, and how.

    Raises:
        CalibrationError: The graph cannot be INT8, or must not; the report then shows
            the curve.
    """
    made, refusal = _known_or_measured(model, data)
    store, report = data.store, data.options.report
    now = datetime.datetime.now(datetime.timezone.utc)
    made = replace(
        made,
        frames={
            "source": store.description,
            "frames": len(store.chosen),
            "held_out": len(store.held_out),
            **({"clips": store.clips} if store.clips else {}),
            "pairs": len(data.pairs),
            "seen": store.seen,
            "repeated": store.repeated,
            "resized": store.resized,
            "sha256": store.digest,
        },
        created=now.isoformat(timespec="seconds"),
    )
    if report is not None:
        write_report(made, report, refusal)
        _log.info(f"the report is in {report}")
    if refusal:
        raise CalibrationError(refusal)
    return made


def _known_or_measured(
    model: ir.Model, data: CalibrationData
) -> tuple[Calibration, str]:
    """What comes out but for where the frames came from, and why not to use it."""
    options = data.options
    cache = Cache(None if options.no_cache else default_folder())
    frames_key = key_of(graph_hash(model), data.store.digest)
    how = {**asdict(options), "frames": 0, "pairs": data.pairs_digest, "report": ""}
    key = key_of("calibration", frames_key, json.dumps(how))
    known = cache.get(key)
    if known is not None:
        _log.info("found in the cache: nothing has changed since")
        return Calibration.from_json(known["calibration"]), known["refusal"]
    made, refusal = _measure(model, data, cache, frames_key)
    cache.put(key, {"calibration": asdict(made), "refusal": refusal})
    return made, refusal


def _measure(
    model: ir.Model, data: CalibrationData, cache: Cache, frames_key: str
) -> tuple[Calibration, str]:
    store, options = data.store, data.options
    layers = find_layers(model)
    keys = tensor_keys(layers)
    graph = fingerprint(model)
    factors = _factors(model, store, cache, frames_key) if options.equalise else {}
    model = model.clone()
    equalise(model, factors)
    observations, macs = _observe(model, layers, store, cache)
    means = None
    if options.correct_bias:
        means = {k: o.mean.astype(np.float32) for k, o in observations.items()}
    method, ranges = choose_ranges(
        options.method, model, layers, observations, means, store
    )
    control = AccuracyControl(
        model,
        layers,
        macs,
        ranges=ranges,
        means=means,
        scorer=Scorer(model, [*(s.held_out() for s in store.held_out), *data.pairs]),
        limits=AccuracyLimits(
            max_drop_db=options.max_drop_db,
            min_psnr_db=options.min_psnr_db,
            max_flicker=options.max_flicker,
        ),
    )
    result = control.run()
    made = Calibration(
        graph=graph,
        method=method,
        ranges={keys[k]: float(v) for k, v in ranges.items()},
        means={
            keys[k]: [float(f"{x:.7g}") for x in v] for k, v in (means or {}).items()
        },
        factors={keys[k]: v.tolist() for k, v in factors.items()},
        int8=tuple(layer.name for layer in layers if layer.name in result.int8),
        residuals=tuple(sorted(keys[tensor] for tensor in result.residuals)),
        macs=macs,
        curve=[step.to_json() for step in result.curve],
        kept={layer.name: layer.stays for layer in layers if layer.stays},
        costs={k: round(psnr_of(v), 2) for k, v in result.costs.items()},
        tools={name: importlib.metadata.version(name) for name in _TOOLS},
    )
    return made, result.refusal


def _factors(model: ir.Model, store: FrameStore, cache: Cache, key: str) -> Factors:
    key = key_of("factors", key)
    known = cache.get(key)
    if known is None:
        factors = choose_factors(model, store)
        cache.put(key, {"factors": {k: v.tolist() for k, v in factors.items()}})
        return factors
    return {k: np.asarray(v, np.float32) for k, v in known["factors"].items()}


def _observe(
    model: ir.Model, layers: Sequence[Layer], store: FrameStore, cache: Cache
) -> tuple[dict[str, Observation], dict[str, int]]:
    key = key_of("seen", graph_hash(model), store.digest)
    known = cache.get(key)
    if known is not None:
        _log.info("ranges' histograms found in the cache")
        seen = {k: Observation.from_json(v) for k, v in known["tensors"].items()}
        return seen, known["macs"]
    seen, macs = observe(model, layers, store.shots())
    tensors = {name: each.to_json() for name, each in seen.items()}
    cache.put(key, {"tensors": tensors, "macs": macs})
    return seen, macs
