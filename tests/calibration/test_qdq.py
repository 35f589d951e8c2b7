import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from derain.calibration.choose import share_ranges
from derain.calibration.layers import concat_groups, find_layers, residual_adds
from derain.calibration.qdq import (
    insert_qdq,
    part_biases,
    quantise_weights,
    scale_of,
)
from derain.calibration.session import GraphSession
from derain.core.errors import CalibrationError
from derain.core.metrics import psnr_db

RANGES = {"image": 1.0, "r0": 2.0, "r1": 2.0, "r2": 3.0, "joined": 2.0}
ALL = {"conv0", "conv1", "conv2", "conv3"}


def consumers(model, name):
    return {n.op_type for n in model.graph for x in n.inputs if x and x.name == name}


def test_only_convolutions_read_what_is_quantised(model):
    insert_qdq(model, RANGES, ALL)
    for tensor in ("image", "r0", "r1", "r2"):
        assert consumers(model, f"{tensor}_dequantized") == {"Conv"}
    assert consumers(model, "image") == {"QuantizeLinear", "Sub"}
    assert consumers(model, "r0") == {"QuantizeLinear", "Add"}


def test_a_residual_is_added_as_layers_read_it_and_the_image_never(model):
    assert residual_adds(model).keys() == {"r0"}
    insert_qdq(model, RANGES, ALL, residuals={"r0"})
    assert consumers(model, "r0_dequantized") == {"Conv", "Add"}
    assert consumers(model, "r0") == {"QuantizeLinear"}


def test_a_residual_that_no_int8_layer_reads_stays(model):
    insert_qdq(model, RANGES, {"conv3"}, residuals={"r0"})
    assert consumers(model, "r0") == {"Conv", "Add"}


def test_nothing_stands_between_convolution_and_activation(model):
    insert_qdq(model, RANGES, ALL)
    for k, follower in ((0, "Relu"), (1, "Relu"), (2, "Add"), (3, "Sub")):
        assert consumers(model, f"c{k}") == {follower}


def test_the_graph_is_valid_and_symmetric(model):
    insert_qdq(model, RANGES, ALL)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("_zero"):
            assert not onnx.numpy_helper.to_array(tensor).any()
            assert tensor.data_type == onnx.TensorProto.INT8
    biases = {n.input[2] for n in proto.graph.node if n.op_type == "Conv"}
    types = {t.name: t.data_type for t in proto.graph.initializer}
    assert {types[name] for name in biases} == {onnx.TensorProto.FLOAT}


def test_layers_that_are_not_named_stay(model):
    insert_qdq(model, RANGES, {"conv1"})
    quantised = [n for n in model.graph if n.op_type == "QuantizeLinear"]
    assert [n.inputs[0].name for n in quantised] == ["r0"]


def test_convolutions_of_one_tensor_share_a_pair(concat_model):
    node = next(n for n in concat_model.graph if n.name == "conv3")
    image = next(n for n in concat_model.graph if n.name == "conv1").inputs[0]
    node.replace_input_with(0, image)  # conv1 and conv3 read r0
    insert_qdq(concat_model, RANGES, ALL)
    quantised = [n for n in concat_model.graph if n.op_type == "QuantizeLinear"]
    assert sorted(n.inputs[0].name for n in quantised) == ["image", "joined", "r0"]


def test_a_layer_computes_what_integers_would(model, rainy):
    insert_qdq(model, RANGES, {"conv0"})
    weights = {k: v.const_value.numpy() for k, v in model.graph.initializers.items()}
    conv = next(n for n in model.graph if n.name == "conv0")
    model.graph.outputs[:] = [conv.outputs[0]]
    got = GraphSession(model).run(rainy[0])["c0"][0]
    x = np.transpose(rainy[0].astype(np.float32) / 255, (2, 0, 1))
    step = weights["image_scale"]
    steps = np.clip(np.rint(x / step), -127, 127).astype(np.int32)
    padded = np.pad(steps, ((0, 0), (1, 1), (1, 1)))
    small = weights["conv0_weight_int8"].astype(np.int32)
    total = np.zeros(got.shape, np.int32)
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
            total += np.einsum("oi,ihw->ohw", small[:, :, row, column], part)
    scale = weights["conv0_weight_scale"] * step
    wanted = total * scale[:, None, None] + weights["b0"][:, None, None]
    assert got == pytest.approx(wanted, abs=1e-5)


@pytest.fixture
def halves(model):
    """The INT8 graph with the rest in FP16, and a bias that FP16 scales do not reach.

    ``bias / (input's scale * weight's scale)`` of conv1 is in the millions.
    """
    pytest.importorskip("torch", reason="the exporter needs derain[export]")
    from derain.export.fp16 import to_fp16

    for name, factor in (("w1", 1e-3), ("b1", 20.0)):
        value = model.graph.initializers[name]
        array = value.const_value.numpy() * np.float32(factor)
        value.const_value = ir.tensor(array, name=name)
    insert_qdq(model, RANGES | {"r0": 1.0}, ALL)
    to_fp16(model, frozenset())
    return model


def on_onnxruntime(model, frame, *, as_written):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"frame": frame[None]})[0][0]


def test_biases_that_fp16_scales_do_not_reach_stay_right_on_onnxruntime(halves, rainy):
    wanted = on_onnxruntime(halves.clone(), rainy[0], as_written=True)
    wrong = on_onnxruntime(halves.clone(), rainy[0], as_written=False)
    assert psnr_db(wrong, wanted) < 35  # or there is no need for `part_biases`
    assert part_biases(halves) == 4
    got = on_onnxruntime(halves, rainy[0], as_written=False)
    assert psnr_db(got, wanted) > 50


def test_parted_biases_are_added_behind_their_convolutions(halves):
    followers = {k: consumers(halves, f"c{k}") for k in range(4)}
    part_biases(halves)
    onnx.checker.check_model(ir.to_proto(halves), full_check=True)
    for k in range(4):
        assert consumers(halves, f"c{k}_before_bias") == {"Add"}
        assert consumers(halves, f"c{k}") == followers[k]
    assert part_biases(halves) == 0


def test_biases_of_layers_in_float_stay(model):
    insert_qdq(model, RANGES, {"conv1"})
    assert part_biases(model) == 1
    assert consumers(model, "b0") == {"Conv"}


@pytest.mark.parametrize("reach", [1e-9, 3e-5, 0.01, 1.0, 417.3])
def test_scales_fit_fp16_and_reach_far_enough(reach):
    scale = scale_of(reach)
    assert np.float32(np.float16(scale)) == scale
    assert scale * 127 >= reach
    assert scale * 127 <= max(reach * 1.1, 2e-4)


def test_weights_are_at_most_half_a_step_off():
    weights = np.random.default_rng(0).normal(size=(6, 4, 3, 3)).astype(np.float32)
    weights[2] *= 1e-3
    small, scale = quantise_weights(weights)
    off = np.abs(small * scale.reshape(-1, 1, 1, 1) - weights).max(axis=(1, 2, 3))
    assert (off <= 0.5001 * scale).all()
    assert np.abs(small).max() <= 127


def test_a_corrected_bias_keeps_the_mean(model, rainy):
    # A level that INT8 holds almost exactly: what is lost is the weights' alone.
    steps = np.arange(100, 250) / 255 / scale_of(1.0)
    level = 100 + int(np.argmin(np.abs(steps - np.rint(steps))))
    flat = np.full_like(rainy[0], level)
    mean = np.full(3, level / 255, np.float32)

    def result(changed):
        conv = next(n for n in changed.graph if n.name == "conv0")
        changed.graph.outputs[:] = [conv.outputs[0]]
        inside = GraphSession(changed).run(flat)["c0"][0, :, 1:-1, 1:-1]
        return inside.mean(axis=(1, 2))

    wanted = result(model.clone())
    plain, corrected = model.clone(), model.clone()
    ranges = {"image": 1.0}
    insert_qdq(plain, ranges, {"conv0"})
    insert_qdq(corrected, ranges, {"conv0"}, {"image": mean})
    lost = np.abs(result(plain) - wanted).max()
    assert np.abs(result(corrected) - wanted).max() < 0.2 * lost


def test_layers_in_front_of_an_argmax_are_found(model):
    relu = next(n for n in model.graph if n.name == "r0").outputs[0]
    pool = ir.Node("derain", "MaxPoolWithIndices", [relu], num_outputs=2, name="pool")
    model.graph.append(pool)
    found = {layer.name: layer.stays for layer in find_layers(model)}
    assert found == {"conv0": "feeds an argmax", "conv1": "", "conv2": "", "conv3": ""}


def test_what_redraws_the_picture_is_found(redrawn_model):
    found = {layer.name: layer.stays for layer in find_layers(redrawn_model)}
    assert found.pop("conv4") == "redraws the picture"
    assert set(found.values()) == {""}


def test_a_network_that_never_adds_the_image_may_be_int8(redrawn_model):
    nodes = {node.name: node for node in redrawn_model.graph}
    nodes["clean"].replace_input_with(0, nodes["conv3"].outputs[0])
    assert {layer.stays for layer in find_layers(redrawn_model)} == {""}


def test_depthwise_layers_are_found(depthwise_model):
    found = {layer.name: layer.stays for layer in find_layers(depthwise_model)}
    assert found == {"conv0": "", "conv1": "is depth-wise", "conv2": "", "conv3": ""}


def test_a_quantised_graph_is_refused(model):
    insert_qdq(model, RANGES, {"conv1"})
    with pytest.raises(CalibrationError, match="quantised already"):
        find_layers(model)


def test_a_graph_without_convolutions_is_refused(model):
    for node in list(model.graph):
        if node.op_type == "Conv":
            node.op_type = "Other"
            node.domain = "somewhere"
    with pytest.raises(CalibrationError, match="nothing to quantise"):
        find_layers(model)


def test_a_concatenation_and_its_parts_share_a_range_if_that_costs_little(concat_model):
    groups = concat_groups(concat_model, ["joined", "r0", "image"])
    assert groups == [frozenset({"joined", "r0"})]
    near = share_ranges(groups, {"joined": 1.2, "r0": 1.0, "image": 5.0})
    assert near == {"joined": 1.2, "r0": 1.2, "image": 5.0}
    far = {"joined": 3.0, "r0": 1.0, "image": 5.0}
    assert share_ranges(groups, far) == far
