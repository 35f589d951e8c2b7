"""Which precision an engine's layers have."""

import json
import types

import pytest

from derain.core.errors import EngineError
from derain.runtime.tensorrt import layer_precision
from derain.runtime.tensorrt.library import Api, Messages


def layer(text):
    return {"Name": "l", "Outputs": [{"Name": "o", "Format/Datatype": text}]}


def test_layers_are_counted_by_the_type_of_their_result():
    formats = [
        "Row major linear FP16 format",
        "Channel major FP16 format where channel % 8 == 0",
        "Half",
        "Row major linear FP32",
        "Float",
        "Row major Int8 format",
        "Row major linear BF16",
        "Row major linear UInt8",
    ]
    layers = [*map(layer, formats), {"Name": "without outputs"}]
    counts = layer_precision.count_layers(json.dumps({"Layers": layers}))
    assert counts == {"bf16": 1, "fp16": 3, "fp32": 2, "int8": 1, "other": 2}


def test_an_engine_without_details_is_not_counted():
    assert layer_precision.count_layers('{"Layers": ["a", "b"]}') is None


@pytest.mark.parametrize(
    ("precision", "types", "reported"),
    [
        ("fp16", {"fp32": 3, "fp16": 2}, True),
        ("fp16", {"fp32": 2, "fp16": 2}, False),
        ("fp16", {"fp16": 2}, False),
        ("int8", {"fp32": 1}, True),
        ("fp32", {"fp32": 3}, False),
    ],
)
def test_mostly_fp32_layers_are_reported(precision, types, reported):
    note = layer_precision.precision_note(precision, types, "layers")
    assert (note is not None) == reported


@pytest.mark.parametrize(
    ("precision", "types", "got"),
    [
        ("fp16", {"fp32": 3}, "fp32"),
        ("fp32", {"fp16": 1, "fp32": 3}, "fp16"),
        ("int8", {"fp16": 3}, "fp16"),
        ("fp16", {"fp16": 3, "int8": 1}, "int8"),
    ],
)
def test_a_graph_of_another_precision_is_refused(precision, types, got):
    expected = f"the bundle says {precision}, but its model is {got} .*; export it ag"
    with pytest.raises(EngineError, match=expected):
        layer_precision.check_precision(precision, types)


@pytest.mark.parametrize(
    ("precision", "types"),
    [
        ("fp32", {"fp32": 3}),
        ("fp16", {"fp16": 1, "fp32": 3}),  # the exporter may leave many in FP32
        ("int8", {"fp16": 2, "fp32": 1, "int8": 1}),
        ("fp16", {}),
    ],
)
def test_the_lowest_precision_is_that_of_the_graph(precision, types):
    layer_precision.check_precision(precision, types)


@pytest.mark.parametrize("compatible", [False, True])
def test_a_version_compatible_engine_is_inspected_with_its_own_code(compatible):
    layers = json.dumps({"Layers": [layer("Half")]})
    inspector = types.SimpleNamespace(get_engine_information=lambda kind: layers)
    engine = types.SimpleNamespace(create_engine_inspector=lambda: inspector)

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, plan):
            # TensorRT loads such an engine only where its code is allowed.
            return engine if self.engine_host_code_allowed == compatible else None

    module = types.SimpleNamespace(
        Runtime=Runtime, LayerInformationFormat=types.SimpleNamespace(JSON=1)
    )
    api = Api("tensorrt", module, "10.3.0", None, Messages())
    counts = layer_precision.engine_layers(api, b"plan", version_compatible=compatible)
    assert counts == {"fp16": 1}
