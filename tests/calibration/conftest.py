"""A small derainer as a graph, frames for it, and a bundle of it."""

import numpy as np
import pytest

pytest.importorskip("onnx_ir", reason="calibration needs derain[export]")

import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.core.synthetic.rain import PRESETS, render_rain
from derain.core.synthetic.street import Street
from support.bundles import write_bundle
from support.calibrating import calibrated

WIDTH, HEIGHT, CHANNELS = 48, 32, 8
UNEVEN = np.geomspace(0.02, 3.0, CHANNELS).astype(np.float32)


def _weights(random, outputs, inputs):
    weight = random.normal(size=(outputs, inputs, 3, 3)) / np.sqrt(9 * inputs)
    return weight.astype(np.float32)


def node(op_type, inputs, output, **attributes):
    """A node with the name of its only result."""
    return helper.make_node(op_type, inputs, [output], output, **attributes)


def _frame_model(nodes, tensors, dtype):
    """The graph from ``frame`` to ``derained``, the latter of type `dtype`."""
    shape = [1, HEIGHT, WIDTH, 3]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("derained", dtype, shape)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


# The frame as the planes that a network reads.
TO_IMAGE = [
    node("Cast", ["frame"], "float", to=TensorProto.FLOAT),
    node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2]),
    node("Mul", ["planes", "scale"], "image"),
]


def small_graph(*, concat=False):
    """``frame - net(frame)`` with four convolutions; `concat` joins two maps."""
    random = np.random.default_rng(7)
    tensors = {
        "scale": np.float32(1 / 255),
        "zero": np.float32(0),
        "one": np.float32(1),
        "peak": np.float32(255),
        "w0": _weights(random, CHANNELS, 3),
        "w1": _weights(random, CHANNELS, CHANNELS),
        "w2": _weights(random, CHANNELS, 2 * CHANNELS if concat else CHANNELS),
        "w3": _weights(random, 3, CHANNELS) * 0.3,
        **{
            f"b{k}": random.normal(size=n).astype(np.float32) * 0.05
            for k, n in enumerate((CHANNELS, CHANNELS, CHANNELS, 3))
        },
    }

    def conv(k, x):
        name, inputs = f"conv{k}", [x, f"w{k}", f"b{k}"]
        return helper.make_node("Conv", inputs, [f"c{k}"], name=name, pads=[1] * 4)

    nodes = [
        *TO_IMAGE,
        conv(0, "image"),
        node("Relu", ["c0"], "r0"),
        conv(1, "r0"),
        node("Relu", ["c1"], "r1"),
        *([node("Concat", ["r1", "r0"], "joined", axis=1)] if concat else []),
        conv(2, "joined" if concat else "r1"),
        node("Add", ["c2", "r0"], "sum"),
        node("Relu", ["sum"], "r2"),
        conv(3, "r2"),
        node("Sub", ["image", "c3"], "clean"),
        node("Clip", ["clean", "zero", "one"], "clipped"),
        node("Mul", ["clipped", "peak"], "levels"),
        node("Round", ["levels"], "rounded"),
        node("Transpose", ["rounded"], "pixels", perm=[0, 2, 3, 1]),
        node("Cast", ["pixels"], "derained", to=TensorProto.UINT8),
    ]
    return _frame_model(nodes, tensors, TensorProto.UINT8)


@pytest.fixture(scope="session")
def make_model():
    return small_graph


@pytest.fixture
def model():
    return small_graph()


@pytest.fixture
def concat_model():
    return small_graph(concat=True)


@pytest.fixture
def redrawn_model(model):
    """`model` with one more convolution, conv4, behind its subtraction."""
    nodes = {node.name: node for node in model.graph}
    weight = np.zeros((3, 3, 1, 1), np.float32)
    weight[range(3), range(3)] = 0.99
    tensor = ir.tensor(weight, name="w4")
    value = ir.Value(
        name="w4",
        shape=ir.Shape(weight.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=tensor,
    )
    model.graph.register_initializer(value)
    clean = nodes["clean"].outputs[0]
    conv = ir.Node("", "Conv", [clean, value], name="conv4")
    result = conv.outputs[0]
    result.name, result.shape, result.type = "redrawn", clean.shape, clean.type
    model.graph.insert_after(nodes["clean"], conv)
    nodes["clipped"].replace_input_with(0, result)
    return model


@pytest.fixture
def depthwise_model(model):
    """`model` with a depth-wise convolution, conv1."""
    node = next(n for n in model.graph if n.name == "conv1")
    weight = node.inputs[1]
    content = np.ascontiguousarray(weight.const_value.numpy()[:, :1])
    weight.const_value = ir.tensor(content, name=weight.name)
    weight.shape = ir.Shape(content.shape)
    node.attributes.add(ir.AttrInt64("group", len(content)))
    return model


@pytest.fixture
def uneven_model(model):
    """`model` with channels of r1 that reach unequally far, and are made up for."""
    nodes = {node.name: node for node in model.graph}
    for name, index, factor in (
        ("conv1", 1, UNEVEN[:, None, None, None]),
        ("conv1", 2, UNEVEN),
        ("conv2", 1, 1 / UNEVEN[None, :, None, None]),
    ):
        value = nodes[name].inputs[index]
        value.const_value = ir.tensor(
            value.const_value.numpy() * factor, name=value.name
        )
    return model


@pytest.fixture
def grouped():
    """frame -> 1x1, ReLU, depth-wise, 1x1 in two groups, leaky ReLU, 1x1 -> frame."""
    random = np.random.default_rng(5)

    def weights(*shape):
        return random.normal(size=shape).astype(np.float32) * 0.4

    tensors = {
        "scale": np.float32(1 / 255),
        "peak": np.float32(255),
        "w0": np.abs(weights(8, 3, 1, 1)) * UNEVEN[:, None, None, None],
        "b0": np.abs(weights(8)) * UNEVEN,
        "w1": weights(8, 1, 3, 3),
        "w2": weights(6, 4, 1, 1),
        "b2": weights(6),
        "w3": weights(3, 6, 1, 1),
    }

    nodes = [
        *TO_IMAGE,
        node("Conv", ["image", "w0", "b0"], "c0"),
        node("Relu", ["c0"], "r0"),
        node("Conv", ["r0", "w1"], "c1", group=8, pads=[1] * 4),
        node("Conv", ["c1", "w2", "b2"], "c2", group=2),
        node("LeakyRelu", ["c2"], "r2", alpha=0.2),
        node("Conv", ["r2", "w3"], "c3"),
        node("Mul", ["c3", "peak"], "levels"),
        node("Round", ["levels"], "rounded"),
        node("Transpose", ["rounded"], "derained", perm=[0, 2, 3, 1]),
    ]
    return _frame_model(nodes, tensors, TensorProto.FLOAT)


@pytest.fixture(scope="session")
def street():
    """Dry frames of a street that moves, `(HEIGHT, WIDTH, 3)` uint8 BGR."""
    scene = Street(Size(WIDTH, HEIGHT), 3)
    return [scene.frame(7 * k) for k in range(12)]


@pytest.fixture(scope="session")
def rainy(street):
    settings = PRESETS["moderate"].scaled(HEIGHT / 480)
    return [render_rain(x, settings, seed=k) for k, x in enumerate(street)]


@pytest.fixture(scope="session")
def footage(rainy, tmp_path_factory):
    """A folder of rainy pictures."""
    folder = tmp_path_factory.mktemp("footage")
    for k, frame in enumerate(rainy):
        write_picture(folder / f"{k}.png", frame)
    return folder


@pytest.fixture
def bundle(model, rainy, tmp_path):
    """Makes a bundle of the small graph."""

    def make(precision="fp32"):
        return write_bundle(
            tmp_path / precision,
            ir.to_proto(model),
            "48x32",
            rainy[0],
            rainy[0],
            precision=precision,
            min_psnr_db=30.0,
        )

    return make


@pytest.fixture(scope="session")
def written(make_model, footage, tmp_path_factory):
    """A calibration file's content."""
    path = tmp_path_factory.mktemp("calibration") / "c.json"
    calibrated(make_model(), footage, no_cache=True).write(path)
    return path.read_text()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DERAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
