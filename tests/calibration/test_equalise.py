import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from derain.calibration import choose
from derain.calibration.choose import choose_factors
from derain.calibration.equalise import equalise, find_chains, find_factors
from derain.calibration.errors import CalibrationError
from derain.calibration.frames import FrameStore
from derain.calibration.judge import HeldOut, Judge
from derain.calibration.layers import constant, find_layers, nodes_by_name
from derain.calibration.observe import observe
from derain.calibration.qdq import insert_qdq
from derain.calibration.record import Calibration, fingerprint
from derain.calibration.session import Session
from derain.runtime.sizes import Size

WIDTH, HEIGHT = 48, 32  # of the frames in conftest.py
UNEVEN = np.geomspace(0.02, 3.0, 8).astype(np.float32)


def uneven(model):
    """`model` with channels of r1 that reach unequally far, and are made up for."""
    nodes = nodes_by_name(model)
    for name, index, factor in (
        ("conv1", 1, UNEVEN[:, None, None, None]),
        ("conv1", 2, UNEVEN),
        ("conv2", 1, 1 / UNEVEN[None, :, None, None]),
    ):
        value = nodes[name].inputs[index]
        value.const_value = ir.tensor(constant(value) * factor, name=value.name)
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

    def node(op_type, inputs, output, **attributes):
        return helper.make_node(op_type, inputs, [output], output, **attributes)

    nodes = [
        node("Cast", ["frame"], "float", to=TensorProto.FLOAT),
        node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2]),
        node("Mul", ["planes", "scale"], "image"),
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
    shape = [1, HEIGHT, WIDTH, 3]
    graph = helper.make_graph(
        nodes,
        "grouped",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("derained", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()],
    )
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def levels(model, frame, name="levels"):
    copy = model.clone()
    value = next(v for n in copy.graph for v in n.outputs if v.name == name)
    copy.graph.outputs[:] = [value]
    return Session(copy).run(frame)[name]


def quantised(model, frames):
    """All layers in INT8, ranges that reach as far as the tensors do."""
    copy = model.clone()
    observations, _ = observe(model, find_layers(model), frames)
    ranges = {name: seen.histogram.largest for name, seen in observations.items()}
    insert_qdq(copy, ranges, {layer.name for layer in find_layers(model)})
    return copy


def test_a_chain_is_read_by_convolutions_alone(model, concat_model, grouped):
    assert [(x.tensor, x.first, x.readers) for x in find_chains(model)] == [
        ("r1", "conv1", ("conv2",))  # r0 and r2 are added to, or image is
    ]
    assert find_chains(concat_model) == ()
    assert [x.tensor for x in find_chains(grouped)] == ["r0", "c1", "r2"]


def test_what_is_looked_at_from_outside_is_no_chain(model):
    value = nodes_by_name(model)["conv1"].outputs[0]
    model.graph.outputs.append(value)
    assert find_chains(model) == ()


def test_the_float_network_computes_what_it_did(grouped, rainy):
    factors = find_factors(grouped, rainy[:2])
    changed = grouped.clone()
    equalise(changed, factors)
    assert set(factors) == {"r0", "c1", "r2"}
    before, after = (levels(graph, rainy[3]) for graph in (grouped, changed))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)


def test_channels_in_front_of_a_depthwise_convolution_reach_equally(grouped, rainy):
    def reach(graph):
        most = np.abs(levels(graph, rainy[0], "r0")).max(axis=(0, 2, 3))
        return most[most > most.max() * 1e-3]  # a silent channel stays silent

    before = reach(grouped)
    equalise(grouped, find_factors(grouped, rainy[:1]))
    after = reach(grouped)
    assert before.max() / before.min() > 10
    np.testing.assert_allclose(after, after[0], rtol=1e-4)


def test_factors_stay_where_fp16_can_hold_them(grouped, rainy):
    nodes_by_name(grouped)["c0"].inputs[1].const_value = ir.tensor(
        np.zeros((8, 3, 1, 1), np.float32), name="w0"
    )
    for factor in find_factors(grouped, rainy[:1]).values():
        assert np.isfinite(factor).all()
        assert (factor >= 1 / 32).all()
        assert (factor <= 32).all()


def test_int8_comes_nearer_where_channels_were_uneven(model, rainy):
    uneven(model)
    judge = Judge(model, [HeldOut(rainy[5], None, HEIGHT, WIDTH)])
    before = judge.score(quantised(model, rainy[:3])).psnr_db
    equalise(model, find_factors(model, rainy[:3]))
    assert judge.score(quantised(model, rainy[:3])).psnr_db > before + 1


@pytest.fixture
def store(footage):
    with FrameStore() as store:
        store.collect(str(footage), Size(WIDTH, HEIGHT), dry=False, count=6)
        yield store


def test_factors_are_kept_where_they_help(model, store):
    told = []
    assert set(choose_factors(uneven(model), store, told.append)) == {"r1"}
    assert "1 tensors equalised" in told[0]
    assert "left" not in told[0]


def test_factors_that_do_not_help_are_left(model, store, monkeypatch):
    monkeypatch.setattr(choose, "_EQUALISE_DB", 99)
    told = []
    assert choose_factors(uneven(model), store, told.append) == {}
    assert "left as they are" in told[0]


def test_factors_for_another_graph_are_one_line(model):
    with pytest.raises(CalibrationError, match=r"r1 has 8 channels, .* for 3; run"):
        equalise(model, {"r1": np.ones(3, np.float32)})


def test_a_calibration_equalises_the_graph_it_is_applied_to(model, rainy):
    uneven(model)
    factors = find_factors(model, rainy[:3])
    changed = model.clone()
    equalise(changed, factors)
    layers = find_layers(model)
    observations, macs = observe(changed, layers, rainy[:3])
    ranges = {name: seen.histogram.largest for name, seen in observations.items()}
    made = Calibration(
        graph=fingerprint(model),
        method="minmax",
        ranges=ranges,
        means={},
        int8=tuple(layer.name for layer in layers),
        macs=macs,
        factors={name: factor.tolist() for name, factor in factors.items()},
    )
    insert_qdq(changed, ranges, set(made.int8))
    made.apply(model)
    assert np.array_equal(levels(model, rainy[4]), levels(changed, rainy[4]))
