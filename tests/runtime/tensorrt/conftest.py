"""Tiny bundles that TensorRT takes, what compiles them, and an engine that is none."""

import contextlib
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from derain.core.bundle import MODEL_FILE, sha256
from derain.core.manifest import FILE_NAME, Manifest
from derain.core.sizes import Size, SizeRange
from derain.core.states import FRAME_SHAPE, StateSpec
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt.engine_backend import TensorRtBackend
from derain.runtime.tensorrt.engine_record import PLATFORM, EngineRecord
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine
from support.bundles import frame_model, identity_model, write_bundle
from support.fixtures import smooth_image
from support.recording_cuda import RecordingDevice
from support.tensorrt_stand_in import Library, remembered

STATIC, DYNAMIC = "64x48", "32x32,64x48,128x96"
PLAN = b"plan"


def pytest_collection_modifyitems(items):
    """What asks for the real compiler is marked so: ``pytest -m tensorrt``."""
    for item in items:
        if "rtx" in getattr(item, "fixturenames", ()):
            item.add_marker("tensorrt")


@pytest.fixture(scope="session")
def rtx():
    """Skips where TensorRT-RTX, the real compiler, is not installed."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'derain[tensorrt-rtx]'")


def _model(sizes, middle, opset=20):
    """A 3x3 convolution between uint8 frames; `middle` may replace it."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto as Type
    from onnx import helper

    half = middle == "half"
    float_type, array_type = (
        (Type.FLOAT16, np.float16) if half else (Type.FLOAT, np.float32)
    )
    node = helper.make_node
    nodes = {
        "attention": [node("Attention", ["x", "x", "x"], ["y"], name="attention")],
        "unpool": [
            node("MaxPool", ["x"], ["v", "i"], name="pool", kernel_shape=[2, 2]),
            node("MaxUnpool", ["v", "i"], ["y"], name="unpool", kernel_shape=[2, 2]),
        ],
        "mixed": [
            node("Conv", ["x", "w"], ["a"], name="first", pads=[1] * 4),
            node("Conv", ["a", "w"], ["b"], name="second", pads=[1] * 4),
            node("Cast", ["b"], ["h"], to=Type.FLOAT16),
            node("Conv", ["h", "w16"], ["g"], name="third", pads=[1] * 4),
            node("Cast", ["g"], ["y"], to=Type.FLOAT),
        ],
        "int8": [
            node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            node("DequantizeLinear", ["w8", "scale", "zero"], ["v"]),
            node("Conv", ["d", "v"], ["s"], name="small", pads=[1] * 4),
            node("Conv", ["s", "w"], ["y"], name="large", pads=[1] * 4),
        ],
    }.get(middle, [node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 4)])
    weights = np.random.default_rng(0).normal(0, 0.1, (3, 3, 3, 3)).astype(array_type)
    limits = [np.array(value, array_type) for value in (0, 255)]
    arrays = {"w": weights, "low": limits[0], "high": limits[1]}
    if middle == "mixed":
        arrays["w16"] = weights.astype(np.float16)
    if middle == "int8":
        arrays["w8"] = np.sign(weights).astype(np.int8)
        arrays |= {"scale": np.array(2, array_type), "zero": np.array(0, np.int8)}
    framed = [
        node("Cast", ["frame"], ["c"], to=float_type),
        node("Transpose", ["c"], ["x"], perm=[0, 3, 1, 2]),
        *nodes,
        node("Clip", ["y", "low", "high"], ["z"]),
        node("Transpose", ["z"], ["t"], perm=[0, 2, 3, 1]),
        node("Cast", ["t"], ["derained"], to=Type.UINT8),
    ]
    tensors = [
        onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()
    ]
    return frame_model(framed, sizes, tensors, opset, middle)


@pytest.fixture
def make_bundle(tmp_path):
    """Makes a bundle: ``make_bundle("conv", sizes, precision=..., name=...)``."""

    def make(middle="conv", sizes=STATIC, precision="fp32", name="bundle"):
        sizes = SizeRange.parse(sizes)
        model = _model(sizes, middle, 23 if middle == "attention" else 20)
        black = np.zeros((sizes.optimum.height, sizes.optimum.width, 3), np.uint8)
        fields = {"precision": precision, "min_psnr_db": 40.0}
        return write_bundle(tmp_path / name, model, sizes, black, black, **fields)

    return make


STATES = (
    StateSpec(name="state_0", shape=(1, 8, "height/2", "width/2"), dtype="float32"),
    StateSpec(name="state_1", shape=FRAME_SHAPE, dtype="uint8", start="frame"),
    StateSpec(name="state_2", shape=FRAME_SHAPE, dtype="uint8", start="frame"),
)


def model_with_states(sizes, half=False, change=None):
    """A network with a state at half size and a window of two frames, and a health.

    Args:
        sizes: Frames it takes.
        half: All floating-point numbers are FP16.
        change: Called with nodes, inputs and outputs, by name, to spoil them.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto as Type
    from onnx import helper

    node, value = helper.make_node, helper.make_tensor_value_info
    number, kind = (Type.FLOAT16, np.float16) if half else (Type.FLOAT, np.float32)
    nodes = {
        "frame": node("Cast", ["frame"], ["c"], to=number),
        "nchw": node("Transpose", ["c"], ["x"], perm=[0, 3, 1, 2]),
        "half": node("Conv", ["x", "down"], ["h"], strides=[2, 2], pads=[1] * 4),
        "both": node("Concat", ["h", "state_0_in"], ["hs"], axis=1),
        "state": node("Conv", ["hs", "w"], ["s"], pads=[1] * 4),
        "relu": node("Relu", ["s"], ["state_0_out"]),
        "up": node("ConvTranspose", ["state_0_out", "up"], ["u"], strides=[2, 2]),
        "before": node("Cast", ["state_1_in"], ["b"], to=number),
        "before nchw": node("Transpose", ["b"], ["bx"], perm=[0, 3, 1, 2]),
        "sum": node("Add", ["u", "bx"], ["y"]),
        "clip": node("Clip", ["y", "low", "high"], ["z"]),
        "nhwc": node("Transpose", ["z"], ["t"], perm=[0, 2, 3, 1]),
        "derained": node("Cast", ["t"], ["derained"], to=Type.UINT8),
        "shift": node("Identity", ["state_2_in"], ["state_1_out"]),
        "last": node("Identity", ["frame"], ["state_2_out"]),
        "numbers": node("Cast", ["state_0_out"], ["f"], to=Type.FLOAT),
        "zeros": node("Mul", ["f", "zero"], ["fz"]),
        "health": node("ReduceSum", ["fz"], ["health"], keepdims=0),
    }
    size = sizes.optimum
    static = sizes.is_static
    full = [1, *((size.height, size.width) if static else "HW"), 3]
    small = [1, 8, *((size.height // 2, size.width // 2) if static else "hw")]
    random = np.random.default_rng(0)
    arrays = {
        "down": random.normal(0, 0.1, (8, 3, 3, 3)).astype(kind),
        "w": random.normal(0, 0.05, (8, 16, 3, 3)).astype(kind),
        "up": random.normal(0, 0.1, (8, 3, 2, 2)).astype(kind),
        "low": np.array(0, kind),
        "high": np.array(255, kind),
        "zero": np.array(0, np.float32),
    }
    states = {"state_0": (number, small)}
    states |= dict.fromkeys(("state_1", "state_2"), (Type.UINT8, full))
    inputs = {"frame": value("frame", Type.UINT8, full)}
    outputs = {"derained": value("derained", Type.UINT8, full)}
    for name, (dtype, shape) in states.items():
        inputs[name] = value(f"{name}_in", dtype, shape)
        outputs[name] = value(f"{name}_out", dtype, shape)
    outputs["health"] = value("health", Type.FLOAT, [])
    if change is not None:
        change(nodes, inputs, outputs)
    graph = helper.make_graph(
        [*nodes.values()],
        "memory",
        [*inputs.values()],
        [*outputs.values()],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture
def make_bundle_with_states(tmp_path):
    """Makes a bundle of `model_with_states`, whose golden clip is of black frames."""

    def make(sizes=STATIC, precision="fp32", states=STATES, change=None):
        sizes, half = SizeRange.parse(sizes), precision == "fp16"
        if half and states is STATES:
            states = (replace(STATES[0], dtype="float16"), *STATES[1:])
        black = np.zeros((sizes.optimum.height, sizes.optimum.width, 3), np.uint8)
        model = model_with_states(sizes, half, change)
        golden = 4 * [black] if states else black
        fields = {"precision": precision, "states": states, "min_psnr_db": 40.0}
        return write_bundle(tmp_path / "memory", model, sizes, golden, golden, **fields)

    return make


@pytest.fixture
def set_model():
    """Puts other bytes into a bundle as its model, with the right hash."""

    def replace(folder, content):
        (folder / MODEL_FILE).write_bytes(content)
        path = folder / FILE_NAME
        manifest = json.loads(path.read_text())
        manifest["files"][MODEL_FILE] = sha256(folder / MODEL_FILE)
        path.write_text(json.dumps(manifest))

    return replace


@pytest.fixture
def compile_command(tmp_path, monkeypatch):
    """Runs derain-compile for GPUs of compute capability 8.6, in its own process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments, **options):
        ahead = () if "--check" in arguments else ("--compute-capability", "8.6")
        command = [sys.executable, "-m", "derain.runtime.tensorrt.compile_cli"]
        choice = ("--backend", "tensorrt-rtx")
        return subprocess.run(
            [*command, *choice, *ahead, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
            **options,
        )

    return run


@pytest.fixture
def device():
    """A GPU that is not here."""
    return DeviceFacts(
        name="Orin",
        compute_capability="8.7",
        driver="12.6",
        runtime="12.6",
        memory_bytes=8 << 30,
        integrated=True,
        multiprocessors=8,
    )


@pytest.fixture(scope="session")
def make_record():
    """Makes the record of an engine built by TensorRT 10.3.0 on an Orin."""

    def make(sizes=STATIC, **changes):
        fields = {
            "file": "tensorrt-10.3.0-sm87-64x48-0a1b2c3d.plan",
            "sha256": hashlib.sha256(PLAN).hexdigest(),
            "bytes": len(PLAN),
            "backend": "tensorrt",
            "version": "10.3.0",
            "platform": PLATFORM,
            "gpu": "Orin",
            "multiprocessors": 8,
            "compute_capabilities": ("8.7",),
            "driver": "12.6",
            "cuda": "12.6",
            "onnx_sha256": "1" * 64,
            "sizes": SizeRange.parse(str(sizes)),
        }
        return EngineRecord(**{**fields, **changes})

    return make


@pytest.fixture
def opened(make_record):
    """Opens the backend: ``opened(order="lazy").backend``; closes it in the end."""
    with contextlib.ExitStack() as stack:

        def open_it(
            sizes=STATIC, name="tensorrt", change=None, states=(), close=True, **options
        ):
            device = RecordingDevice(**options)
            library = Library(device, name, states)
            if change is not None:
                change(library)
            engine = TensorRtEngine(library, make_record(sizes, states=states), PLAN)
            backend = TensorRtBackend(device, engine, SizeRange.parse(sizes).optimum)
            if close:  # not where the device was misused
                stack.callback(backend.close)
            backend.device, backend.library = device, library  # for the test to see
            backend.own = backend.new_memory()
            return backend

        yield open_it


@pytest.fixture(scope="session")
def frames():
    """Makes different frames: ``frames(5)``, each `(1, H, W, 3)`."""

    def make(count, size=Size(64, 48)):  # noqa: B008 - immutable
        generator = np.random.default_rng(7)
        shape = (count, 1, size.height, size.width, 3)
        return list(generator.integers(0, 256, shape, dtype=np.uint8))

    return make


@pytest.fixture
def compiled(bundles, tmp_path, make_record):
    """A bundle whose golden frame is "255 - x", with an engine in it.

    With ``states=`` it has a golden clip of what the stand-in makes of it.
    """

    def make(states=(), **changes):
        folder = tmp_path / "compiled"
        if states:
            sizes = SizeRange.parse(STATIC)
            rainy = [smooth_image(sizes.optimum, shift) for shift in range(4)]
            clip = remembered([frame[None] for frame in rainy], states)
            clean = [frame[0] for frame in clip]
            model = identity_model(sizes)
            write_bundle(folder, model, sizes, rainy, clean, states=states)
        else:
            shutil.copytree(bundles("wrong-golden"), folder)
        manifest = Manifest.read(folder)
        digest = manifest.files[MODEL_FILE]
        record = make_record(**{"onnx_sha256": digest, "states": states, **changes})
        replace(manifest, engines=(record.to_json(),)).write(folder)
        (folder / record.file).write_bytes(PLAN)
        return folder

    return make


@pytest.fixture
def copy_bundle(tmp_path):
    """Copies a bundle, so that a test may change it."""
    return lambda folder, name="copy": shutil.copytree(folder, tmp_path / name)
