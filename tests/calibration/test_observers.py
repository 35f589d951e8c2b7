"""What is not finite is found wherever it is."""

import numpy as np
import onnx_ir as ir
import pytest

from derain.calibration import observers as module
from derain.calibration.layers import add_initializer, find_layers, nodes_by_name
from derain.calibration.observers import observe
from derain.calibration.session import Shot
from derain.core.errors import CalibrationError

CHANNELS, HEIGHT, WIDTH = 8, 32, 48  # of r1; see conftest.py
PLACES = {
    "first": (0, 0, 0),
    "in the middle": (3, 17, 23),
    "beside the sample": (0, 0, 1),
    "last": (CHANNELS - 1, HEIGHT - 1, WIDTH - 1),
}


@pytest.fixture
def spoilt(model):
    """The graph with a value of what conv2 reads replaced: ``spoilt(place, value)``."""

    def make(place, value):
        spoil = np.zeros((1, CHANNELS, HEIGHT, WIDTH), np.float32)
        spoil[0][place] = value
        r1 = nodes_by_name(model)["r1"].outputs[0]
        other = add_initializer(model.graph, "spoil", spoil)
        add = ir.Node("", "Add", [r1, other], name="spoilt")
        result = add.outputs[0]
        result.name, result.shape, result.type = "spoilt", r1.shape, r1.type
        model.graph.insert_after(nodes_by_name(model)["r1"], add)
        nodes_by_name(model)["conv2"].replace_input_with(0, result)
        return model

    return make


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found(spoilt, rainy, monkeypatch, place, value):
    monkeypatch.setattr(module, "SAMPLES", 8 * 11 * 16)  # every third row and column
    model = spoilt(place, value)
    with pytest.raises(CalibrationError, match="spoilt is not finite"):
        observe(model, find_layers(model), [Shot(rainy[0])])


def test_what_is_finite_is_no_error(spoilt, rainy, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 8 * 11 * 16)
    model = spoilt((0, 0, 1), 1e4)
    observations, _ = observe(model, find_layers(model), [Shot(rainy[0])])
    seen = observations["spoilt"].histogram
    assert seen.largest == pytest.approx(1e4, rel=1e-3)
    assert seen.total == 8 * 11 * 16
