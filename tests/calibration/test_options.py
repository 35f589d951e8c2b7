"""Options of a calibration: one dataclass for two commands and the API."""

from dataclasses import fields
from pathlib import Path

import pytest

from derain.calibration.cli import main as calibrate_command
from derain.calibration.options import NAMES, CalibrationKeywords, CalibrationOptions
from derain.core.errors import ConfigError
from derain.core.options import described, from_keywords, named
from derain.export.cli import main as export_command


def test_keywords_are_the_fields():
    names = {field.name for field in fields(CalibrationOptions)}
    assert CalibrationKeywords.__annotations__.keys() == names


def test_both_commands_have_every_option_with_its_default():
    defaults = {field.name: field.default for field in described(CalibrationOptions)}
    ours = named(calibrate_command, CalibrationOptions)
    assert {option.name: option.default for option in ours} == defaults
    theirs = [option for option in export_command.params if option.name in NAMES]
    defaults["calibration_frames"] = defaults.pop("frames")
    assert {option.name: option.default for option in theirs} == defaults


def test_keywords_become_what_the_command_line_makes_of_them():
    made = from_keywords(CalibrationOptions, {"report": "there", "frames": 3})
    assert made == CalibrationOptions(report=Path("there"), frames=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", 0), ("method", "best"), ("max_flicker", 0.5), ("min_psnr_db", "x")],
)
def test_values_out_of_range_are_one_line(name, value):
    with pytest.raises(ConfigError, match=f"^{name}: ") as error:
        from_keywords(CalibrationOptions, {name: value})
    assert "\n" not in str(error.value)


def test_an_option_that_does_not_exist_is_an_error_of_the_program():
    with pytest.raises(TypeError, match="frame"):
        from_keywords(CalibrationOptions, {"frame": 3})
