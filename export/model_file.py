"""``model.onnx``: the finished graph as a file, checked by ONNX and by a parser."""

from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from derain.core.errors import ExportError
from derain.core.manifest import CONTRACT, Precision
from derain.runtime.tensorrt import preflight

_log = logging.getLogger(__name__)


def save_model(model: ir.Model, name: str, precision: Precision, path: Path) -> None:
    """Write `model` to `path`, without traces of the machine it was made on.

    Args:
        model: The graph; changed in place.
        name: Of the network.
        precision: What the file says about itself.
        path: The file.

    Raises:
        ExportError: The graph is not valid ONNX.
    """
    model.producer_name = "derain"
    model.producer_version = importlib.metadata.version("derain")
    model.graph.name = name
    model.doc_string = f"{name}, {precision}: {CONTRACT}"
    model.metadata_props.clear()
    for node in model.graph:  # traces of our user's source files and folders
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()
    proto = ir.to_proto(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker raises several unrelated C++ errors
        reason = " ".join(str(error).split())
        raise ExportError(f"the graph is not valid ONNX: {reason}") from error
    onnx.save(proto, path)


def ask_parser(model: Path) -> dict[str, Any]:
    """What TensorRT's parser says about the file, for the manifest; {} if none is here.

    Raises:
        ExportError: It refuses a node.
    """
    try:
        answer = preflight.check(model)
    except preflight.NoParserError as error:
        _log.warning("not checked by TensorRT's parser: %s", error)
        return {}
    if answer.refused:
        nodes = "; ".join(f"{n}; {preflight.advice(n)}" for n in answer.refused)
        raise ExportError(
            f"{answer.backend} {answer.version} refuses {len(answer.refused)} nodes: "
            f"{nodes}"
        )
    return {
        "backend": answer.backend,
        "version": answer.version,
        "layers": answer.layers,
        "refused": 0,
    }
