import json
import sys

import pytest
from click.testing import CliRunner

from derain.calibration.cli import main
from derain.core.pictures import read_picture, write_picture

LOOSE = ("--max-drop-db", "9", "--min-psnr-db", "20", "--method", "minmax")


@pytest.fixture
def calibrate(tmp_path):
    def run(*arguments):
        output = tmp_path / "calibration.json"
        result = CliRunner().invoke(main, [*map(str, arguments), "-o", str(output)])
        return result, output

    return run


def assert_one_line(result, pattern):
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("Error: ")
    assert pattern in lines[-1]


def test_a_bundle_becomes_a_calibration_file(bundle, calibrate, footage):
    result, output = calibrate(bundle(), "--source", footage, "--frames", 4, *LOOSE)
    assert result.exit_code == 0, result.output
    assert "4/4" in result.stdout
    assert json.loads(output.read_text())["int8"] == [f"conv{k}" for k in range(4)]


def test_frames_come_out_of_a_video(bundle, calibrate, rainy, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "rainy.mp4"), "w") as file:
        video = file.add_stream("libx264", rate=25, options={"crf": "12"})
        video.height, video.width = rainy[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for frame in (frame for frame in rainy for _ in range(3)):
            file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        file.mux(video.encode())
    source = tmp_path / "rainy.mp4"
    result, output = calibrate(bundle(), "--source", source, "--frames", 8, *LOOSE)
    assert result.exit_code == 0, result.output
    frames = json.loads(output.read_text())["frames"]
    assert frames["seen"] == 3 * len(rainy)
    assert frames["repeated"] == 2 * len(rainy)
    assert (frames["frames"], frames["held_out"]) == (8, len(rainy) - 8)
    assert "rainy.mp4" in frames["source"]


def test_the_report_has_frames_table_and_plot(bundle, calibrate, footage, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    options = ("--source", footage, "--frames", 4, "--report", folder)
    result, _ = calibrate(bundle(), *options, *LOOSE)
    assert result.exit_code == 0, result.output
    made = {path.name for path in folder.iterdir()}
    assert made == {"frames.jpg", "report.png", "report.txt"}


def test_the_report_shows_the_curve_of_what_is_refused(
    bundle, calibrate, footage, tmp_path
):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    options = ("--source", footage, "--frames", 4, "--report", folder)
    result, output = calibrate(bundle(), *options, "--min-psnr-db", 99)
    assert_one_line(result, "wanted 99.0 dB")
    assert not output.exists()
    lines = (folder / "report.txt").read_text().splitlines()
    assert lines[1].split()[:2] == ["4/4", "1"]
    assert lines[2].split()[:2] == ["4/4", "0"]  # residuals go first
    assert lines[3].split("/")[0].strip() in ("1", "2", "3")
    assert lines[-1].startswith("refused: INT8 is ")
    assert read_picture(folder / "report.png").any()


def test_a_report_that_cannot_be_drawn_is_found_before_measuring(
    bundle, calibrate, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    options = ("--source", tmp_path / "none.mp4", "--report", tmp_path / "report")
    result, _ = calibrate(bundle(), *options)
    assert_one_line(result, "matplotlib")


def test_json_is_the_file(bundle, calibrate, footage):
    options = ("--source", footage, "--frames", 4, "--json", "--quiet")
    result, output = calibrate(bundle(), *options, *LOOSE)
    assert json.loads(result.stdout) == json.loads(output.read_text())
    assert result.stderr == ""


def test_pairs_give_the_loss_against_the_truth(
    bundle, calibrate, footage, street, rainy, tmp_path
):
    for kind, frames in (("rain", rainy), ("clean", street)):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        for k in range(3):
            write_picture(tmp_path / "pairs" / kind / f"{k}.png", frames[k])
    options = ("--source", footage, "--frames", 4, "--pairs", tmp_path / "pairs")
    result, output = calibrate(bundle(), *options, *LOOSE)
    assert result.exit_code == 0, result.output
    fields = json.loads(output.read_text())
    assert fields["frames"]["pairs"] == 3
    assert fields["curve"][-1]["drop_db"] is not None


def test_what_cannot_pass_leaves_nothing(bundle, calibrate, footage):
    options = ("--source", footage, "--frames", 4, "--min-psnr-db", 99)
    result, output = calibrate(bundle(), *options)
    assert_one_line(result, "wanted 99.0 dB")
    assert not output.exists()


def test_an_existing_file_stays(bundle, calibrate, footage):
    _, output = calibrate(bundle(), "--source", footage, "--frames", 4, *LOOSE)
    before = output.read_bytes()
    folder = output.parent / "fp32"
    result, _ = calibrate(folder, "--source", footage, "--frames", 4, *LOOSE)
    assert_one_line(result, "exists")
    assert output.read_bytes() == before


def test_a_bundle_in_fp16_is_refused(bundle, calibrate, footage):
    result, _ = calibrate(bundle("fp16"), "--source", footage)
    assert_one_line(result, "is in fp16, wanted fp32")


def test_a_missing_source_is_one_line(bundle, calibrate, tmp_path):
    result, output = calibrate(bundle(), "--source", tmp_path / "none.mp4")
    assert_one_line(result, "none.mp4")
    assert not output.exists()


def test_pairs_that_do_not_fit_are_one_line(
    bundle, calibrate, footage, rainy, tmp_path
):
    for kind, frame in (("rain", rainy[0]), ("clean", rainy[0][:20])):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        write_picture(tmp_path / "pairs" / kind / "a.png", frame)
    options = ("--source", footage, "--pairs", tmp_path / "pairs")
    result, _ = calibrate(bundle(), *options, *LOOSE)
    assert_one_line(result, "is 48x32, its clean picture 48x20")
