import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the exporter needs derain[export]")

from derain.calibration.options import NAMES
from derain.export import pipeline
from derain.export.cli import main


@pytest.fixture
def export(export_once, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "to_onnx", export_once)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        options = ["--model", "qsnet", "--size", "48x32", "--quiet"]
        return CliRunner().invoke(main, [*options, *map(str, arguments)])

    return run


def test_int8_without_frames_says_what_to_give(export, tmp_path):
    result = export("--int8")
    assert result.exit_code == 1
    assert "--calibrate-on" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("qsnet*"))


def test_frames_without_int8_are_a_usage_error(export, footage):
    assert export("--fp16", "--calibrate-on", footage).exit_code == 2


OPTIONS = {
    "calibration_frames": ("--calibration-frames", 64),
    "dry": ("--dry",),
    "pairs": ("--pairs", "pairs"),
    "method": ("--method", "auto"),
    "max_drop_db": ("--max-drop-db", 0.15),
    "min_psnr_db": ("--min-psnr-db", 42),
    "max_flicker": ("--max-flicker", 1.05),
    "report": ("--report", "report"),
    "no_cache": ("--no-cache",),
}
each_option = pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)


def test_all_that_calibration_and_export_share_is_tried_below():
    assert OPTIONS.keys() == set(NAMES)


@each_option
def test_options_of_int8_without_it_are_a_usage_error(export, option):
    result = export("--fp16", *option)
    assert result.exit_code == 2
    assert f"for --int8 alone: {option[0]}" in result.stderr


@each_option
def test_a_file_and_how_to_calibrate_are_a_usage_error(export, option):
    result = export("--int8", "--calibration", "c.json", *option)
    assert result.exit_code == 2
    assert f"for --calibrate-on alone: {option[0]}" in " ".join(result.stderr.split())


def test_a_file_and_frames_are_a_usage_error(export, footage):
    result = export("--int8", "--calibration", "c.json", "--calibrate-on", footage)
    assert result.exit_code == 2


@pytest.fixture
def no_export(monkeypatch):
    def called(*arguments):
        raise AssertionError("PyTorch's export, which takes minutes, came first")

    monkeypatch.setattr("derain.export.pipeline.to_onnx", called)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--calibration", "none.json"), "none.json cannot be read"),
        (("--calibrate-on", "none.mp4"), "none.mp4"),
        (("--calibrate-on", "{footage}", "--pairs", "none"), "none cannot be read"),
    ],
)
@pytest.mark.usefixtures("no_export")
def test_what_is_missing_is_one_line_and_at_once(export, footage, options, said):
    result = export("--int8", *(x.format(footage=footage) for x in options))
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_int8_that_cannot_pass_leaves_no_bundle(export, footage, tmp_path):
    result = export(
        *("--int8", "--target", "onnxruntime", "--calibrate-on", footage),
        *("--calibration-frames", 3, "--method", "minmax", "--min-psnr-db", 110),
    )
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith("use --fp16")
    assert not [p for p in tmp_path.iterdir() if "qsnet" in p.name]


def test_one_command_makes_an_int8_bundle(export, footage, tmp_path):
    result = export(
        *("--int8", "--target", "onnxruntime", "--calibrate-on", footage),
        *("--calibration-frames", 3, "--method", "percentile", "--min-psnr-db", 30),
    )
    assert result.exit_code == 0, result.output
    assert "in INT8" in result.stdout
    assert (tmp_path / "qsnet-int8-onnxruntime-48x32" / "calibration.json").is_file()
