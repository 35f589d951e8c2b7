"""Calibrating the small graph of tests/calibration/conftest.py."""

from dataclasses import replace

from derain.calibration.calibrate import calibrate_graph
from derain.calibration.data import read_data
from derain.calibration.options import CalibrationOptions
from derain.core.sizes import Size

SIZE = Size(48, 32)
# Tensors of the small graph, as a calibration calls them.
IMAGE, R0, R1 = (f"input of conv{k}" for k in range(3))
LOOSE = {"frames": 4, "method": "minmax", "max_drop_db": 5, "min_psnr_db": 25}


def calibrated(model, source, pairs=(), **options):
    """The calibration of `model` on `source`, which little keeps from being INT8."""
    chosen = CalibrationOptions(**LOOSE | options)
    with read_data(str(source), chosen, SIZE, force=False) as data:
        return calibrate_graph(model, replace(data, pairs=tuple(pairs)))


def weight_of(model):
    return model.graph.initializers["w1"]


def change_a_weight(model):
    import onnx_ir as ir

    value = weight_of(model)
    array = value.const_value.numpy().copy()
    array[0, 0, 0, 0] += 0.01
    value.const_value = ir.tensor(array, name=value.name)
