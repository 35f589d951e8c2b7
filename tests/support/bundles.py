"""The one builder of hand-made bundles."""

from pathlib import Path

import numpy as np
import pytest

from derain.core.bundle import GOLDEN_INPUT, GOLDEN_OUTPUT, MODEL_FILE, sha256
from derain.core.frame_contract import FrameContract
from derain.core.manifest import Golden, Manifest
from derain.core.pictures import write_picture
from derain.core.sizes import SizeRange


def frame_model(
    nodes, sizes, tensors=(), opset=20, name="network", states=(), multiple_of=1
):
    """An ONNX model of `nodes` from ``frame`` to ``derained``, uint8 NHWC.

    Args:
        nodes: Of ``onnx.helper.make_node``.
        sizes: Frames it takes; free axes where that is a range.
        tensors: Its constants.
        states: A `StateSpec` for each of its states; with floating-point ones it has
            the output ``health``, too.
        multiple_of: Of what the padded frame's height and width are multiples.
    """
    pytest.importorskip("onnx", reason="bundles need derain[export]")
    from onnx import helper

    axes = (sizes.optimum.height, sizes.optimum.width) if sizes.is_static else "HW"
    shape = [1, *axes, 3]
    padded = FrameContract(multiple_of=multiple_of).padded(sizes.optimum)
    values = {"frame": ("uint8", shape), "derained": ("uint8", shape)}
    for state in states:
        lengths = [str(each) if isinstance(each, str) else each for each in state.shape]
        if sizes.is_static:
            lengths = state.shape_for(sizes.optimum, padded)
        values[state.input] = values[state.output] = (state.dtype, lengths)
    if any(state.dtype != "uint8" for state in states):
        values["health"] = ("float32", [])
    infos = {
        key: helper.make_tensor_value_info(
            key, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), lengths
        )
        for key, (dtype, lengths) in values.items()
    }
    inputs = {"frame", *(state.input for state in states)}
    graph = helper.make_graph(
        nodes,
        name,
        [info for key, info in infos.items() if key in inputs],
        [info for key, info in infos.items() if key not in inputs],
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
        golden: Rainy golden frame, `(H, W, 3)` uint8 BGR; or a list of them, a clip.
        expected: What it should become; or a list.
        fields: Of the manifest, or ``min_psnr_db`` of its golden frame.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    names = {"inputs": [GOLDEN_INPUT], "outputs": [GOLDEN_OUTPUT]}
    if isinstance(golden, list):
        names = {
            f"{kind}s": [f"golden-{kind}-{k}.png" for k in range(len(golden))]
            for kind in ("input", "output")
        }
    else:
        golden, expected = [golden], [expected]
    files = [*names["inputs"], *names["outputs"]]
    for file, picture in zip(files, [*golden, *expected], strict=True):
        write_picture(folder / file, np.asarray(picture, np.uint8))
    limit = fields.pop("min_psnr_db", 50.0)
    defaults = {"model": "qsnet", "precision": "fp32", "target": "any"}
    Manifest(
        **{**defaults, **fields},
        sizes=sizes if isinstance(sizes, SizeRange) else SizeRange.parse(sizes),
        golden=Golden(
            **{side: tuple(each) for side, each in names.items()}, min_psnr_db=limit
        ),
        files={name: sha256(folder / name) for name in (MODEL_FILE, *files)},
    ).write(folder)
    return folder


def infer_once(backend, frame):
    """What a backend makes of one frame, `(1, H, W, 3)`, with nothing before it."""
    return backend.infer(frame, backend.new_memory())
