"""The one builder of hand-made bundles."""

from pathlib import Path

import numpy as np
import pytest

from derain.core.bundle import GOLDEN_INPUT, GOLDEN_OUTPUT, MODEL_FILE, sha256
from derain.core.manifest import Golden, Manifest
from derain.core.pictures import write_picture
from derain.core.sizes import SizeRange


def frame_model(nodes, sizes, tensors=(), opset=20, name="network"):
    """An ONNX model of `nodes` from ``frame`` to ``derained``, uint8 NHWC.

    Args:
        nodes: Of ``onnx.helper.make_node``.
        sizes: Frames it takes; free axes where that is a range.
        tensors: Its constants.
    """
    pytest.importorskip("onnx", reason="bundles need derain[export]")
    from onnx import TensorProto, helper

    axes = (sizes.optimum.height, sizes.optimum.width) if sizes.is_static else "HW"
    shape = [1, *axes, 3]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("derained", TensorProto.UINT8, shape)],
        list(tensors),
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def identity_model(sizes):
    """An ONNX model that changes nothing."""
    pytest.importorskip("onnx", reason="bundles need derain[export]")
    from onnx import helper

    node = helper.make_node("Identity", ["frame"], ["derained"])
    return frame_model([node], sizes, name="identity")


def write_bundle(folder, model, sizes, golden, expected, **fields):
    """Write a bundle by hand, and return its folder.

    Args:
        folder: A new folder.
        model: What ``SerializeToString`` makes the model's file of.
        sizes: Frames it takes, a `SizeRange` or its text.
        golden: Rainy golden frame, `(H, W, 3)` uint8 BGR.
        expected: What it should become.
        fields: Of the manifest, or ``min_psnr_db`` of its golden frame.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    write_picture(folder / GOLDEN_INPUT, golden)
    write_picture(folder / GOLDEN_OUTPUT, np.asarray(expected, np.uint8))
    names = (MODEL_FILE, GOLDEN_INPUT, GOLDEN_OUTPUT)
    limit = fields.pop("min_psnr_db", 50.0)
    defaults = {"model": "qsnet", "precision": "fp32", "target": "any"}
    Manifest(
        **{**defaults, **fields},
        sizes=sizes if isinstance(sizes, SizeRange) else SizeRange.parse(sizes),
        golden=Golden(
            inputs=(GOLDEN_INPUT,), outputs=(GOLDEN_OUTPUT,), min_psnr_db=limit
        ),
        files={name: sha256(folder / name) for name in names},
    ).write(folder)
    return folder


def infer_once(backend, frame):
    """What a backend makes of one frame, `(1, H, W, 3)`, with nothing before it."""
    return backend.infer(frame, backend.new_memory())
