"""Would TensorRT take this graph? Asked of its real parser, without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derain.core.errors import EngineError
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.library import installed
from derain.runtime.tensorrt.network_definition import RefusedNode
from derain.runtime.tensorrt.process import run_child

_EXPORT = "export the bundle with --target tensorrt"
_ADVICE = {
    "MaxUnpool": _EXPORT,
    "MaxPool": f"nobody may use its second output: {_EXPORT}",
    "MultiHeadAttention": _EXPORT,
    "ScatterElements": "no reduction: write it with Where or with MatMul",
    "ScatterND": "no reduction: write it with Where or with MatMul",
}
_OTHER_ADVICE = "write it with other operators in the network, or use onnxruntime"


class NoParserError(EngineError):
    """There is no parser to ask here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What the parser says about a graph.

    Attributes:
        backend: Whose parser it is.
        version: Its version.
        layers: Layers of the network it made.
        refused: Every node it does not take, of those that it came to: all, unless the
            last is one that it knows but cannot build as it is.
    """

    backend: EngineBackend
    version: str
    layers: int
    refused: tuple[RefusedNode, ...]

    def to_json(self) -> dict[str, Any]:
        """The answer as a JSON object."""
        return {
            "backend": self.backend,
            "version": self.version,
            "layers": self.layers,
            "refused": [
                {**node.to_json(), "advice": advice(node)} for node in self.refused
            ],
        }


def advice(node: RefusedNode) -> str:
    """What to do about a refused node."""
    return _ADVICE.get(node.operator, _OTHER_ADVICE)


def check(model: Path, backend: EngineBackend | None = None) -> Preflight:
    """Parse `model` with TensorRT's parser, in a process of its own.

    Args:
        model: The ONNX file.
        backend: Whose parser; None takes the first that is installed and starts here
            (TensorRT does only where a GPU is).

    Raises:
        NoParserError: None is installed or starts.
        EngineError: The file is no model, or the parser crashes.
    """
    reasons = []
    for candidate in [backend] if backend else installed():
        request = {"action": "check", "backend": candidate, "model": str(model)}
        result = run_child(request)
        if "unavailable" not in result:
            return Preflight(
                backend=candidate,
                version=result["version"],
                layers=result["layers"],
                refused=tuple(map(RefusedNode.from_json, result["refused"])),
            )
        reasons.append(result["unavailable"])
    if reasons:
        raise NoParserError("; ".join(reasons))
    raise NoParserError(
        "neither tensorrt nor tensorrt_rtx is installed; "
        "run: pip install 'derain[tensorrt-rtx]'"
    )
