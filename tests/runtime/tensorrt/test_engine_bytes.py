"""Bytes of an engine's kernels: read from a log, from the inspector, from a compile."""

import json
import logging
from pathlib import Path

import pytest

from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.runtime.tensorrt import engine_bytes
from derain.runtime.tensorrt.engine_bytes import (
    Kernel,
    kernels_of_inspector,
    kernels_of_log,
    measure_engine_bytes,
)

RECORDED = Path(__file__).with_name("layers.log")
PIXELS = 1280 * 720


def recorded():
    """The list as it arrives: one message whose lines became spaces."""
    _, _, text = RECORDED.read_text(encoding="utf-8").partition("\n")
    return " ".join(text.split())


def test_kernels_of_a_recorded_list():
    first, unit, last = kernels_of_log(["Something else", recorded()])
    # uint8 frame in; four channels padded and three plain out; one plane of zeros and a
    # factor are constants.
    assert first.kind == "kgen"
    assert first.written_bytes == 2 * 7 * PIXELS
    assert first.read_bytes == 3 * PIXELS + 2 * PIXELS + 2
    # 16 and 32 channels in, 32 out, weights 32x16, two numbers in FP32, a bias.
    assert unit == Kernel(
        name="node_conv2d_3_myl0_4",
        kind="correlation",
        read_bytes=2 * 48 * PIXELS + 2 * 32 * 16 + 4 + 4 + 2 * 32,
        written_bytes=2 * 32 * PIXELS,
    )
    assert last.written_bytes == 3 * PIXELS


def test_waits_and_signals_between_streams_are_no_kernels():
    assert "signal" in recorded()
    assert {kernel.kind for kernel in kernels_of_log([recorded()])} == {
        "kgen",
        "correlation",
    }


@pytest.mark.parametrize(
    ("described", "size"),
    [
        ({"Format/Datatype": "Half"}, 2),
        ({"Format/Datatype": "Row major linear FP16 format"}, 2),
        ({"Datatype": "Float", "Format": "(NHWC) Channel major format"}, 4),
        ({"Format": "Thirty-two wide channel vectorized row major Int8 format"}, 1),
        ({"Format/Datatype": "UInt8"}, 1),
    ],
)
def test_kernels_of_an_inspector(described, size):
    tensor = {"Name": "x", "Dimensions": [1, 8, 6, 4], **described}
    information = {
        "Layers": [
            {"Name": "a", "LayerType": "conv", "Inputs": [tensor], "Outputs": [tensor]},
            {"Name": "wait", "LayerType": "wait", "Inputs": [], "Outputs": []},
            "a name alone",
        ]
    }
    (kernel,) = kernels_of_inspector(json.dumps(information))
    assert kernel.read_bytes == kernel.written_bytes == size * 192


@pytest.mark.usefixtures("rtx")
def test_a_compiled_convolution(make_bundle):
    folder = make_bundle("half", precision="fp16")
    level = logging.getLogger("derain.tensorrt").level
    measured = measure_engine_bytes(folder / "model.onnx", "fp16", Size(64, 48))
    assert measured.backend == "tensorrt-rtx"
    assert measured.size == Size(64, 48)
    frame = 3 * 64 * 48
    # At least the frame in and out, at most some copies of it in FP16 and the weights.
    assert 2 * frame <= measured.moved_bytes < 30 * frame
    assert measured.kernels[0].read_bytes >= frame
    assert logging.getLogger("derain.tensorrt").level == level


@pytest.mark.usefixtures("rtx")
def test_a_size_of_a_range(make_bundle):
    folder = make_bundle(sizes="32x32,64x48,128x96")
    small, large = (
        measure_engine_bytes(folder / "model.onnx", "fp32", size).moved_bytes
        for size in (Size(64, 48), Size(128, 96))
    )
    assert 3.5 * small < large < 4.5 * small


def test_without_a_library_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(engine_bytes, "installed", list)
    with pytest.raises(EngineError, match=r"pip install 'derain\[tensorrt-rtx\]'"):
        measure_engine_bytes(tmp_path / "model.onnx", "fp16", Size(64, 48))
