"""The manifest of a bundle that was just made."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from derain.core.bundle import sha256
from derain.core.manifest import FILE_NAME, Golden, Manifest, Precision
from derain.core.states import StateSpec
from derain.export.options import ExportOptions
from derain.models.loading import LoadedNetwork

# How far a healthy backend may be from the golden frame: GPUs add in another order, in
# TF32 or FP16. A broken one is some 10 to 25 dB away.
_GOLDEN_MIN_PSNR_DB: dict[Precision, float] = {
    "fp32": 45.0,
    "fp16": 40.0,
    "int8": 32.0,
}
_TOOLS = ("derain", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")


def manifest_of(
    options: ExportOptions,
    loaded: LoadedNetwork,
    folder: Path,
    *,
    golden: tuple[tuple[str, ...], tuple[str, ...]],
    states: tuple[StateSpec, ...],
    operators: dict[str, str],
    passes: dict[str, int],
    fp32_nodes: tuple[str, ...],
    verification: dict[str, dict[str, Any]],
) -> Manifest:
    """What the bundle in `folder`, otherwise complete, is and how it was made."""
    tools = {name: importlib.metadata.version(name) for name in _TOOLS}
    tools["python"] = platform.python_version()
    kind = type(loaded.network)
    video = loaded.video
    seen = {}
    if video is not None and video.window > 1:
        seen = {"window": video.window, "layout": video.layout}
    if options.has_halves:
        states = tuple(
            replace(each, dtype="float16") if each.dtype == "float32" else each
            for each in states
        )
    now = datetime.datetime.now(datetime.timezone.utc)
    return Manifest(
        model=loaded.name,
        precision=options.precision,
        target=options.target,
        sizes=options.sizes,
        golden=Golden(
            inputs=golden[0],
            outputs=golden[1],
            min_psnr_db=_GOLDEN_MIN_PSNR_DB[options.precision],
        ),
        files={
            path.name: sha256(path)
            for path in sorted(folder.iterdir())
            if path.name != FILE_NAME
        },
        weights=loaded.weights,
        network={
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "paper": loaded.paper,
            **asdict(loaded.facts),
            "value_range": list(loaded.facts.value_range),  # as JSON has it
            **seen,
            **_given(loaded),
            "parameters": sum(p.numel() for p in loaded.network.parameters()),
        },
        operators=operators,
        fp32_nodes=fp32_nodes,
        passes=passes,
        verification=verification,
        tools=tools,
        created=now.isoformat(timespec="seconds"),
        states=states,
        look_ahead=0 if video is None else video.look_ahead,
        batch=options.batch or 1,
    )


def _given(loaded: LoadedNetwork) -> dict[str, Any]:
    """What the user said a network is built with and given."""
    given: dict[str, Any] = {}
    if loaded.arguments:
        given["arguments"] = {k: repr(v) for k, v in loaded.arguments.items()}
    if loaded.inputs:
        given["inputs"] = {k: str(v) for k, v in loaded.inputs.items()}
    return given
