import pytest

from derain.calibration.calibration_file import Calibration
from derain.calibration.report import estimated_speedup, summary, table

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


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(0.0, (1.0, 1.0)), (0.5, (2.12 / 2.06, 3.2 / 2.6)), (1.0, (1.06, 1.6))],
)
def test_the_speedup_is_that_of_amdahl(share, wanted):
    assert estimated_speedup(share) == pytest.approx(wanted)


def test_the_summary_has_layers_by_precision_and_why():
    said = summary(MADE, rest_in_fp16=True)
    assert said["layers"] == {"int8": 1, "fp16": 2, "fp32": 0}
    assert said["layers_float"] == {
        "b": "is depth-wise",
        "c": "given back by the gate: alone 45.2 dB from FP32",
    }


def test_the_estimate_cannot_be_taken_for_a_measurement():
    estimate = summary(MADE, rest_in_fp16=True)["estimated_speedup"]
    assert estimate["between"] == [round(x, 2) for x in estimated_speedup(0.8)]
    assert estimate["timed"] is False
    (line,) = (x for x in table(MADE) if "Orin" in x)
    assert "not timed" in line


def test_a_bundle_for_processors_has_no_estimate_for_a_gpu():
    said = summary(MADE, rest_in_fp16=False)
    assert said["layers"] == {"int8": 1, "fp16": 0, "fp32": 2}
    assert "estimated_speedup" not in said
