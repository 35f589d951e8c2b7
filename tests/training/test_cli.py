import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from derain.training.cli import main
from derain.training.config import config_for, with_changes

TRAIN = ("--model", "qsnet", "--steps", "2", "--crop", "16", "--batch", "1")


def _invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_help_lists_the_networks_without_torch():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from derain.training.cli import main\n"
        "from derain.benchmarks.quality.evaluate_cli import main as evaluate\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "print(CliRunner().invoke(evaluate, ['--help']).output)\n"
        "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "treefusion" in done.stdout
    assert "--bundle" in done.stdout


def test_help_says_what_stands_in_the_commands_of_the_records():
    help_text = _invoke("--help").output
    command = with_changes(
        config_for("stagewise"), first_weights="0", vgg=True, pair_sets=2
    ).command()
    places = re.findall(r"[A-Z0-9]{4,}", command)
    assert places == ["PAIRS1", "PAIRS2", "PHOTOGRAPHS", "WEIGHTS", "VGG16"]
    assert all(place in help_text for place in places)


def test_run_is_made_and_resumed(tmp_path, pairs_folder):
    folder = tmp_path / "run"
    result = _invoke(*TRAIN, "--pairs", pairs_folder, "-o", folder)
    assert result.exit_code == 0, result.output
    assert str(folder) in result.stdout
    assert "4 pairs to train on" in result.stderr
    again = _invoke(*TRAIN, "--pairs", pairs_folder, "-o", folder)
    assert again.exit_code == 0
    assert "resumed at step 2" in again.stderr


def test_run_on_photographs_alone(tmp_path, two_folders):
    folder = tmp_path / "run"
    result = _invoke(*TRAIN, "--clean", two_folders / "clean", "-o", folder)
    assert result.exit_code == 0, result.output
    assert "0 pairs to train on, 0 to validate, 4 photographs" in result.stderr
    assert (folder / "state.pt").is_file()


def test_scenes_of_a_folder_are_left_out(tmp_path, two_folders, pairs_folder):
    folder = tmp_path / "run"
    (pairs_folder / "3.png").unlink()
    photographs = ["--clean", two_folders / "clean", "--not-in", pairs_folder]
    result = _invoke(*TRAIN, *photographs, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "left out 0 of 0 pairs and 3 of 4 photographs" in result.stderr
    config = json.loads((folder / "config.json").read_text())
    assert config["not_in"] == [f"{tmp_path.name}/pairs"]


def test_run_starts_from_given_weights(tmp_path, pairs_folder):
    import torch

    from derain.models.registry import create_model
    from derain.training.run_folder import load_average, read_config

    network = create_model("qsnet")
    torch.nn.init.constant_(network.last.bias, 0.125)
    weights = tmp_path / "weights.pth"
    torch.save(network.state_dict(), weights)
    arguments = ["--pairs", pairs_folder, "-o", tmp_path / "run", "--weights", weights]
    result = _invoke(*TRAIN, "--learning-rate", "1e-9", *arguments)
    assert result.exit_code == 0, result.output
    bias = load_average("qsnet", tmp_path / "run").last.bias
    torch.testing.assert_close(bias, torch.full((3,), 0.125))
    assert len(read_config(tmp_path / "run").first_weights) == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--pairs", "nowhere"], "nowhere cannot be read", id="missing"),
        pytest.param(["--weights", "no.pth"], "no.pth cannot be read", id="no weights"),
        pytest.param([], "there are no pictures to train on", id="nothing"),
        pytest.param(["--rendered", "0.9", "--dry", "0.9"], "at most 1", id="mixture"),
    ],
)
def test_our_errors_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = _invoke(*TRAIN, *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()[-1:]) == 1


@pytest.mark.parametrize("below", ["", "run"], ids=["a file", "below a file"])
def test_output_that_cannot_be_a_folder(tmp_path, pairs_folder, below):
    place = tmp_path / "file"
    place.write_text("")
    result = _invoke(*TRAIN, "--pairs", pairs_folder, "-o", place / below)
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"Error: {place / below} cannot be made: ")
    assert error.endswith("choose another --output")
    assert "Traceback" not in result.output


def test_disk_that_is_full_is_one_line(tmp_path, pairs_folder, full_disk):
    folder = tmp_path / "run"
    with full_disk(500_000):  # a checkpoint of qsnet takes 0.8 MB
        result = _invoke(*TRAIN, "--pairs", pairs_folder, "-o", folder)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {folder / 'state.pt'} cannot be written: File too large; make room or "
        "choose another --output; the run is kept as it was at step 0"
    )
    assert "Traceback" not in result.output
    assert not list(folder.glob("*.part"))
    again = _invoke(*TRAIN, "--pairs", pairs_folder, "-o", folder)
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "nledn"],
        ["--model", "qsnet", "--hours", "1", "--steps", "1"],
        ["--model", "qsnet", "--vgg", "vgg16.pth"],
        ["--model", "qsnet", "--batch", "0"],
    ],
)
def test_wrong_usage_is_exit_2(arguments):
    assert _invoke(*arguments).exit_code == 2
