"""A calibration fits its own graph, of any size, and no other."""

import json
from dataclasses import replace

import numpy as np
import pytest

from derain.calibration.apply import apply_calibration
from derain.calibration.cache import graph_hash
from derain.calibration.calibration_file import Calibration
from derain.calibration.session import GraphSession
from derain.core.errors import CalibrationError
from support.calibrating import IMAGE, R0, R1, calibrated, change_a_weight


def test_a_calibration_makes_its_graph_int8(model, footage):
    made = calibrated(model, footage)
    apply_calibration(made, model)
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("QuantizeLinear") == 4
    assert made.share == 1.0
    assert made.frames["frames"] == 4


def test_residuals_are_applied_by_the_name_that_holds_for_any_size(
    make_model, rainy, footage
):
    made = calibrated(make_model(), footage)
    assert made.residuals == (R0,)
    with_them, without = make_model(), make_model()
    apply_calibration(made, with_them)
    apply_calibration(replace(made, residuals=()), without)
    pictures = [GraphSession(x).derain(rainy[0]) for x in (with_them, without)]
    assert not np.array_equal(*pictures)
    add = next(node for node in with_them.graph if node.name == "sum")
    assert add.inputs[1].name == "r0_dequantized"


def test_a_calibration_fits_a_graph_whose_tensors_have_other_names(
    make_model, rainy, footage
):
    model, renamed = make_model(), make_model()
    for node in renamed.graph:
        for value in node.outputs:
            value.name += "_of_any_size"
    made = calibrated(model, footage, equalise=False)
    made = replace(made, factors={R1: [0.5, 2.0] * 4})
    pictures = []
    for graph in (model, renamed):
        apply_calibration(made, graph)
        pictures.append(GraphSession(graph).derain(rainy[0]))
    np.testing.assert_array_equal(*pictures)


def test_a_calibration_of_other_weights_is_refused(model, footage):
    made = calibrated(model, footage)
    change_a_weight(model)
    with pytest.raises(CalibrationError, match="for another graph"):
        apply_calibration(made, model)


def test_a_calibration_fits_the_graph_of_another_frame_size(model, footage):
    import onnx_ir as ir

    made = calibrated(model, footage)
    for node in model.graph:
        if node.name == "conv1":
            node.attributes["pads"] = ir.AttrInt64s("pads", [1, 1, 2, 2])
    apply_calibration(made, model)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph) == 4


INCOMPLETE = {
    f"range of {R0}": lambda fields: fields["ranges"].pop(R0),
    f"means of the 8 channels of {R0}": lambda fields: fields["means"].pop(R0),
    f"means of the 8 channels of {R1}": lambda fields: fields["means"][R1].pop(),
    f"means of the 3 channels of {IMAGE}": lambda fields: fields["means"].update(
        {IMAGE: [0.5] * 8}
    ),
    "range of r7": lambda fields: fields["ranges"].update(r7=1.0),
    "means of r7": lambda fields: fields["means"].update(r7=[1.0]),
    "layer conv0": lambda fields: (
        fields["macs"].pop("conv0"),
        fields["int8"].remove("conv0"),
    ),
    "layer conv7": lambda fields: (
        fields["macs"].update(conv7=1),
        fields["int8"].append("conv7"),
    ),
    "factors of r7": lambda fields: fields.update(factors={R1: [1.0] * 8, "r7": [1]}),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_an_incomplete_file_is_one_line_and_changes_nothing(
    model, written, tmp_path, what
):
    path = tmp_path / "c.json"
    fields = json.loads(written)
    INCOMPLETE[what](fields)
    path.write_text(json.dumps(fields))
    made, before = Calibration.read(path), graph_hash(model)
    with pytest.raises(CalibrationError, match=f"is damaged: {what} missing"):
        apply_calibration(made, model)
    assert graph_hash(model) == before
