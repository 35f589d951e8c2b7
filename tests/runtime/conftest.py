"""Tiny bundles made by hand, and pictures and clips to run them on."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from derain.runtime.bundle import GOLDEN_INPUT, GOLDEN_OUTPUT, MODEL_FILE, sha256
from derain.runtime.manifest import Golden, Manifest
from derain.runtime.pictures import write_picture
from derain.runtime.sizes import Size, SizeRange

SIZE = Size(64, 48)


def smooth_image(size=SIZE, shift=0):
    """A picture without edges, that a codec keeps within a few levels."""
    y, x = np.mgrid[: size.height, : size.width].astype(np.float32)
    channels = [
        127 + 90 * np.sin((x + 3 * shift) / 29 + phase) * np.cos(y / 23 + phase)
        for phase in (0.0, 1.0, 2.0)
    ]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def darker(image):
    """What the bundles of kind "darken" make of `image`."""
    return image >> 1


def write_model(path, kind, sizes):
    """An ONNX file: "identity", "darken" (halves every level) or "slow"."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    static = sizes.is_static
    shape = [1, *((sizes.optimum.height, sizes.optimum.width) if static else "HW"), 3]
    nodes = {
        "identity": [helper.make_node("Identity", ["frame"], ["derained"])],
        "darken": [
            helper.make_node(
                "BitShift", ["frame", "one"], ["derained"], direction="RIGHT"
            )
        ],
        # Some milliseconds a frame: 100 poolings whose result is kept from folding away.
        "slow": [
            helper.make_node("Cast", ["frame"], ["x0"], to=TensorProto.FLOAT),
            *(
                helper.make_node(
                    "AveragePool",
                    [f"x{i}"],
                    [f"x{i + 1}"],
                    kernel_shape=[9, 3],
                    pads=[4, 1, 4, 1],
                    count_include_pad=1,
                )
                for i in range(60)
            ),
            helper.make_node("Mul", ["x60", "zero"], ["nothing"]),
            helper.make_node("Add", ["x0", "nothing"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["derained"], to=TensorProto.UINT8),
        ],
    }[kind]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("derained", TensorProto.UINT8, shape)],
        [
            helper.make_tensor("one", TensorProto.UINT8, [1], [1]),
            helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_bundle(folder, kind="darken", sizes=None, expected=None, precision="fp32"):
    """A bundle in `folder`; `expected` replaces the golden output."""
    sizes = sizes or SizeRange.static(SIZE)
    folder.mkdir(parents=True)
    write_model(folder / MODEL_FILE, kind, sizes)
    golden = smooth_image(sizes.optimum)
    if expected is None:
        expected = darker(golden) if kind == "darken" else golden
    write_picture(folder / GOLDEN_INPUT, golden)
    write_picture(folder / GOLDEN_OUTPUT, expected)
    names = (MODEL_FILE, GOLDEN_INPUT, GOLDEN_OUTPUT)
    Manifest(
        model="qsnet",
        precision=precision,
        target="any",
        sizes=sizes,
        golden=Golden(input=GOLDEN_INPUT, output=GOLDEN_OUTPUT, min_psnr_db=50.0),
        files={name: sha256(folder / name) for name in names},
    ).write(folder)
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Bundles by name, made when first asked for: ``bundles("darken")``."""
    root = tmp_path_factory.mktemp("bundles")
    dynamic = SizeRange.parse("32x32,64x48,128x96")
    rows = {
        "darken": {},
        "identity": {"kind": "identity"},
        "dynamic": {"sizes": dynamic},
        "any-size": {"sizes": SizeRange.parse("1x1,64x48,4096x4096")},
        "any-size-identity": {
            "kind": "identity",
            "sizes": SizeRange.parse("1x1,64x48,4096x4096"),
        },
        "slow": {"kind": "slow", "sizes": SizeRange.parse("1x1,64x48,4096x4096")},
        "fp16": {"precision": "fp16"},
        "wrong-golden": {"expected": 255 - smooth_image()},
    }

    def bundle(name):
        folder = root / name
        return folder if folder.exists() else write_bundle(folder, **rows[name])

    return bundle


@pytest.fixture
def picture_folder(tmp_path):
    """Makes a folder of pictures: ``picture_folder("in", count=3)``."""

    def make(name="in", count=3, size=SIZE, suffix=".png"):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(count):
            image = smooth_image(size, index)
            write_picture(folder / f"frame{index}{suffix}", image)
        return folder

    return make


def run_command(*arguments, **options):
    """``derain-run`` in a process of its own, finished."""
    return subprocess.run(
        [sys.executable, "-m", "derain.runtime.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
