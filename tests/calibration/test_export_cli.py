import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the exporter needs derain[export]")

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
