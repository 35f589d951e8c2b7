"""What is written is read again, or refused in one line."""

import json

import pytest

from derain.calibration.calibration_file import Calibration
from derain.core.errors import CalibrationError
from support.calibrating import IMAGE, R0, calibrated


def test_a_file_gives_back_what_was_written(model, footage, tmp_path):
    made = calibrated(model, footage)
    made.write(tmp_path / "c.json")
    assert Calibration.read(tmp_path / "c.json") == made


DAMAGES = {
    "field": lambda fields: fields.pop("ranges"),
    "schema": lambda fields: fields.update(schema=99),
    "layer": lambda fields: fields.update(int8=["nothing"]),
    "NaN range": lambda fields: fields["ranges"].update({IMAGE: float("nan")}),
    "text for a range": lambda fields: fields["ranges"].update({IMAGE: "1"}),
    "range beyond FP16": lambda fields: fields["ranges"].update({IMAGE: 1e9}),
    "NaN mean": lambda fields: fields["means"][R0].__setitem__(3, float("nan")),
    "endless mean": lambda fields: fields["means"][R0].__setitem__(3, 1e39),
    "null for a mean": lambda fields: fields["means"][R0].__setitem__(3, None),
    "number for means": lambda fields: fields["means"].update(r0=1.0),
    "no multiplications": lambda fields: fields["macs"].update(conv1=0),
    "text for factors": lambda fields: fields["factors"].update(r1="12345678"),
    "factor of 0": lambda fields: fields["factors"].update(r1=[0.0] * 8),
    "text for a cost": lambda fields: fields["costs"].update(conv1="low"),
    "step": lambda fields: fields["curve"][-1].pop("psnr_db"),
    "list for ranges": lambda fields: fields.update(ranges=[1.0]),
    "empty": lambda fields: fields.clear(),
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line(written, tmp_path, change):
    path = tmp_path / "c.json"
    fields = json.loads(written)
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(CalibrationError, match=r"c\.json is not a calibration file"):
        Calibration.read(path)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "[" * 100_000])
def test_a_file_of_another_form_is_one_line(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CalibrationError, match=r"c\.json is not a calibration file"):
        Calibration.read(tmp_path / "c.json")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(CalibrationError, match="derain-calibrate"):
        Calibration.read(tmp_path / "none.json")
