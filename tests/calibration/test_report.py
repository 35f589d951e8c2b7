from derain.calibration.calibration_file import Calibration
from derain.calibration.report import summary, table
from support.calibrating import calibrated

MADE = Calibration(
    graph="",
    method="minmax",
    ranges={},
    means={},
    int8=("a",),
    macs={"a": 80, "b": 15, "c": 5},
    kept={"b": "is depth-wise"},
    costs={"c": 45.25},
)


def test_the_summary_has_layers_by_precision_and_why():
    said = summary(MADE, rest_in_fp16=True)
    assert said["layers"] == {"int8": 1, "fp16": 2, "fp32": 0}
    assert said["layers_float"] == {
        "b": "is depth-wise",
        "c": "given back by accuracy control: alone 45.2 dB from FP32",
    }


def test_a_bundle_for_processors_has_the_rest_in_fp32():
    assert summary(MADE, rest_in_fp16=False)["layers"] == {
        "int8": 1,
        "fp16": 0,
        "fp32": 2,
    }


def test_the_table_tells_the_curve(model, footage):
    lines = table(calibrated(model, footage))
    assert lines[1].split()[:3] == ["4/4", "1", "100.0%"]


def test_the_table_says_why_layers_were_not_tried(depthwise_model, footage):
    made = calibrated(depthwise_model, footage)
    assert made.int8 == ("conv0", "conv2", "conv3")
    (line,) = (x for x in table(made) if x.startswith("in floating point"))
    assert line.startswith("in floating point: conv1, ")
    assert line.endswith(" is depth-wise")
