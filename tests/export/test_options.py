"""Options of an export: one dataclass, whose defaults and names are the only ones."""

from dataclasses import fields

from derain.calibration.options import NAMES, CalibrationOptions
from derain.core.sizes import ANY_SIZE, Size, SizeRange
from derain.export.cli import main
from derain.export.keywords import ExportKeywords, export_options
from derain.export.options import DEFAULT_SIZE, ExportOptions


def test_keywords_are_the_fields():
    mine = {each.name for each in fields(ExportOptions)} - {"int8"}
    assert set(ExportKeywords.__annotations__) == mine | set(NAMES)
    assert mine.isdisjoint(NAMES)


def test_the_command_has_an_option_for_every_keyword():
    known = {parameter.name for parameter in main.params}
    of_commands = {"model", "as_json", "quiet", "verbose", "version"}
    assert known - of_commands - {"help", None} == set(ExportKeywords.__annotations__)


def test_defaults_of_keywords_are_those_of_the_dataclasses():
    assert export_options({}) == ExportOptions()
    assert ExportOptions().int8 == CalibrationOptions()
    assert ExportOptions().sizes == SizeRange.static(DEFAULT_SIZE)


def test_options_of_the_calibration_reach_it():
    options = export_options(
        {"precision": "int8", "calibration_frames": 5, "method": "mse", "size": (8, 9)}
    )
    assert options.int8 == CalibrationOptions(frames=5, method="mse")
    assert options.sizes == SizeRange.static(Size(8, 9))
    assert options.frames is None


def test_any_size_is_one_word():
    any_size = ExportOptions(precision="fp16", size="any")
    any_size.check(own=False)
    assert export_options({"size": "any"}).sizes == any_size.sizes == ANY_SIZE
    for size in ("640x480", "1080x1920", "3840x2160", "641x479", "4096x4096"):
        assert Size.parse(size) in any_size.sizes
    assert str(any_size.folder("rivulet-s")) == "rivulet-s-fp16-any"


def test_a_bundle_is_named_after_what_it_is():
    options = ExportOptions(precision="int8", target="onnxruntime", size="8x9")
    assert str(options.folder("mine.nets:Net")) == "net-int8-onnxruntime-8x9"
    assert str(ExportOptions(dynamic="1x1,2x2,3x3").folder("qsnet")) == (
        "qsnet-fp32-dynamic"
    )
