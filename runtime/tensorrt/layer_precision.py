"""Which precision the layers of an engine really have."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

from derain.core.errors import EngineError
from derain.core.manifest import Precision
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.library import Api

if TYPE_CHECKING:
    import tensorrt as trt

# How the inspector writes types: "Row major linear FP16 format", "Half", "Float".
_TYPES = {
    "fp16": re.compile(r"\b(fp16|half)\b", re.IGNORECASE),
    "bf16": re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE),
    "fp32": re.compile(r"\b(fp32|float)\b", re.IGNORECASE),
    "fp8": re.compile(r"\bfp8", re.IGNORECASE),
    "int8": re.compile(r"\bint8\b", re.IGNORECASE),
}


def check_precision(precision: Precision, types: dict[str, int]) -> None:
    """Raise unless `precision` is the lowest of `types`.

    Args:
        precision: What the bundle says.
        types: Of `arithmetic_types`.

    Raises:
        EngineError: The graph is of another precision than its bundle says.
    """
    got = next((each for each in get_args(Precision)[::-1] if each in types), precision)
    if got != precision:
        counts = ", ".join(f"{count} {name}" for name, count in types.items())
        raise EngineError(
            f"the bundle says {precision}, but its model is {got} (convolutions and "
            f"matrix products: {counts}); export it again with --{precision} or --{got}"
        )


def engine_layers(
    api: Api, plan: bytes, *, version_compatible: bool
) -> dict[str, int] | None:
    """Layers of an engine, counted by the type of their first result.

    Returns:
        None where the engine cannot be loaded, or its layers say nothing.
    """
    runtime: trt.Runtime = versions.create_runtime(
        api, version_compatible=version_compatible
    )
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    inspector: trt.EngineInspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(api.trt.LayerInformationFormat.JSON)
    return count_layers(text)


def count_layers(information: str) -> dict[str, int] | None:
    """Count the layers in what the inspector says about an engine, as JSON text."""
    layers = json.loads(information).get("Layers", [])
    # Without detailed profiling verbosity a layer is its name alone.
    counts = Counter(_type(layer) for layer in layers if isinstance(layer, dict))
    return dict(sorted(counts.items())) or None


def precision_note(
    precision: Precision, types: dict[str, int], what: str
) -> str | None:
    """A sentence if most of `types` are FP32 though the graph is not."""
    full, total = types.get("fp32", 0), sum(types.values())
    if precision == "fp32" or 2 * full <= total:
        return None
    return (
        f"the bundle is {precision}, but {full} of {total} {what} are FP32: export it "
        f"again with --{precision} --target tensorrt"
    )


def _type(layer: dict[str, Any]) -> str:
    for output in layer.get("Outputs", []):
        for key in ("Format/Datatype", "Datatype", "Format"):
            for name, pattern in _TYPES.items():
                if pattern.search(str(output.get(key, ""))):
                    return name
    return "other"
