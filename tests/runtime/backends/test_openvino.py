"""OpenVINO against ONNX Runtime, on the processor."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("openvino", reason="openvino is not installed")
pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from derain.core.bundle import MODEL_FILE, Bundle, sha256
from derain.core.errors import EngineError
from derain.core.manifest import Manifest
from derain.core.sizes import Size
from derain.runtime.backends import open_backend, openvino
from support.bundles import infer_once


@pytest.fixture
def with_model(bundles, tmp_path):
    """A bundle with another model.onnx."""

    def make(model):
        folder = tmp_path / "bundle"
        folder.mkdir()
        for path in bundles("darken").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        path = folder / MODEL_FILE
        path.write_bytes(
            model if isinstance(model, bytes) else model.SerializeToString()
        )
        manifest = Manifest.read(folder)
        manifest.files[MODEL_FILE] = sha256(path)
        manifest.write(folder)
        return Bundle.open(folder)

    return make


def graph_of(nodes, shape, constants=()):
    """A model from `frame` to `derained`, both uint8."""
    values = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
        for name in ("frame", "derained")
    )
    graph = helper.make_graph(nodes, "g", *([value] for value in values))
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_functions_are_read(with_model, image):
    """Operators of ours are functions in a bundle, which OpenVINO cannot read."""
    frame = image()[None]
    model = graph_of(
        [helper.make_node("Halve", ["frame"], ["derained"], domain="mine")], frame.shape
    )
    two = helper.make_tensor("two", TensorProto.UINT8, [1], [2])
    body = [
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Div", ["a", "two"], ["b"]),
    ]
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(
        helper.make_function("mine", "Halve", ["a"], ["b"], body, opset)
    )
    backend = open_backend("openvino", with_model(model))
    np.testing.assert_array_equal(infer_once(backend, frame), frame >> 1)


def test_a_concatenation_in_int8_is_what_onnxruntime_makes_of_it(with_model, image):
    """OpenVINO 2026.4 alone is tens of levels off."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (3, 6, 3, 3)).astype(np.int8)
    constants = (
        ("scale", np.float32(1 / 255)),
        ("half", np.float32(-0.5)),
        ("step", np.float32(1 / 127)),
        ("zero", np.int8(0)),
        ("weights", weights),
        ("steps", np.full(3, 4e-4, np.float32)),
        ("zeros", np.zeros(3, np.int8)),
        ("bias", np.full(3, 0.5, np.float32)),
        ("none", np.float32(0)),
        ("one", np.float32(1)),
        ("peak", np.float32(255)),
    )
    node = helper.make_node
    nodes = [
        node("Transpose", ["frame"], ["planes"], perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        node("Mul", ["float", "scale"], ["image"]),
        node("Add", ["image", "half"], ["other"]),
        node("Concat", ["image", "other"], ["both"], axis=1),
        node("QuantizeLinear", ["both", "step", "zero"], ["small"]),
        node("DequantizeLinear", ["small", "step", "zero"], ["back"]),
        node("DequantizeLinear", ["weights", "steps", "zeros"], ["taps"], axis=0),
        node("Conv", ["back", "taps", "bias"], ["result"], pads=[1, 1, 1, 1]),
        node("Clip", ["result", "none", "one"], ["clipped"]),
        node("Mul", ["clipped", "peak"], ["levels"]),
        node("Round", ["levels"], ["rounded"]),
        node("Transpose", ["rounded"], ["pixels"], perm=[0, 2, 3, 1]),
        node("Cast", ["pixels"], ["derained"], to=TensorProto.UINT8),
    ]
    frame = image()[None]
    bundle = with_model(graph_of(nodes, frame.shape, constants))
    wanted = infer_once(open_backend("onnxruntime", bundle), frame).astype(int)
    got = infer_once(open_backend("openvino", bundle), frame).astype(int)
    assert wanted.std() > 15
    assert np.abs(got - wanted).max() <= 1


def test_frames_come_in_order_and_say_how_long_they_took(bundles, image):
    backend = open_backend("openvino", Bundle.open(bundles("darken")), 1)
    assert backend.description.startswith("openvino 20")
    assert backend.description.endswith("processor, 1 thread")
    assert backend.times is None
    frames = [image(shift=shift)[None] for shift in range(4)]
    for frame, derained in zip(
        frames, backend.stream(frames, backend.new_memory()), strict=True
    ):
        np.testing.assert_array_equal(derained, frame >> 1)
        assert backend.times.compute_ms > 0
        assert (backend.times.upload_ms, backend.times.download_ms) == (0, 0)
    backend.close()
    backend.close()


def test_a_failure_is_one_line(bundles, image):
    backend = open_backend("openvino", Bundle.open(bundles("darken")))
    with pytest.raises(EngineError, match=r"^openvino failed: .*") as caught:
        infer_once(backend, image(Size(8, 8))[None])
    assert "\n" not in str(caught.value)
    assert "src/" not in str(caught.value)


def test_operators_that_it_does_not_have_are_one_line(with_model, image):
    node = helper.make_node("MaxUnpool", ["a", "b"], ["c"], kernel_shape=[2, 2])
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["float"], ["a", "b"], kernel_shape=[2, 2]),
        node,
        helper.make_node("Cast", ["c"], ["derained"], to=TensorProto.UINT8),
    ]
    bundle = with_model(graph_of(nodes, image()[None].shape))
    bundle = replace(bundle, manifest=replace(bundle.manifest, target="onnxruntime"))
    with pytest.raises(EngineError, match=r"MaxUnpool.*without --target") as caught:
        open_backend("openvino", bundle)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(bundle.model_path))


def test_a_graph_that_does_not_load_is_one_line(with_model):
    with pytest.raises(EngineError, match="does not load") as caught:
        open_backend("openvino", with_model(b"no graph"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", "fma avx2", True),
        ("x86_64", "avx2 avx512_vnni", False),
        ("x86_64", "avx2 avx_vnni", False),
        ("x86_64", None, True),
        ("aarch64", "asimd asimddp", False),
    ],
)
def test_integer_sums_that_saturate_are_known(
    machine, flags, saturates, tmp_path, monkeypatch
):
    monkeypatch.setattr(openvino.platform, "machine", lambda: machine)
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor : 0\nflags : {flags}\n")
    assert openvino._saturates(cpuinfo) is saturates


def test_int8_is_right_on_any_processor(with_model):
    """Weights and values at INT8's ends: two products and more in 16 bits saturate."""
    random = np.random.default_rng(0)
    weight = np.where(random.random((16, 16, 3, 3)) < 0.5, 127, 120).astype(np.int8)
    constants = [
        ("one", np.float32(1)),
        ("zero", np.int8(0)),
        ("w", weight),
        ("w_scale", np.full(16, 1 / (127 * 16 * 9), np.float32)),
        ("w_zero", np.zeros(16, np.int8)),
        ("three", np.ones((16, 3, 1, 1), np.float32) / 3),
        ("back", np.ones((3, 16, 1, 1), np.float32) / 16),
    ]
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "three"], ["many"]),
        helper.make_node("QuantizeLinear", ["many", "one", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "one", "zero"], ["x"]),
        helper.make_node(
            "DequantizeLinear", ["w", "w_scale", "w_zero"], ["weights"], axis=0
        ),
        helper.make_node("Conv", ["x", "weights"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["y", "back"], ["z"]),
        helper.make_node("Transpose", ["z"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["pixels"], ["derained"], to=TensorProto.UINT8),
    ]
    frame = random.integers(100, 127, (1, 48, 64, 3), np.uint8)
    bundle = with_model(graph_of(nodes, frame.shape, constants))
    got, wanted = (
        infer_once(open_backend(name, bundle), frame).astype(int)
        for name in ("openvino", "onnxruntime")
    )
    assert np.abs(got - wanted).max() <= 1


# A process of its own: where it fails, the signal ends the process.
_CLOSED_IN_ORDER = """
import gc, os, signal, sys
from pathlib import Path
from derain.core.interrupts import Interrupts
from derain.runtime.derainer import Derainer
first, second = (Derainer(Path(sys.argv[1]), backend="openvino") for _ in range(2))
first.close(); del first; gc.collect()
second.close(); del second; gc.collect()
with Interrupts() as interrupts:
    interrupts.stopped()  # from here on a signal is noted
    os.kill(os.getpid(), signal.SIGINT)
print(interrupts.received.name)
"""


def test_an_interrupt_after_bundles_were_closed_is_noted(bundles):
    done = subprocess.run(
        [sys.executable, "-c", _CLOSED_IN_ORDER, str(bundles("darken"))],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "SIGINT\n"), done.stderr
