import json
import math
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from derain.training.cli import main
from derain.training.loop import Trainer
from derain.training.recipes import config_for, with_changes

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


def test_network_of_the_users_own(tmp_path, pairs_folder, two_folders, monkeypatch):
    (tmp_path / "nets_to_train.py").write_text(
        "from torch import nn\n"
        "class Tiny(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.last = nn.Conv2d(3, 3, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        return x + self.last(x), None\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    tiny = ["--model", "nets_to_train:Tiny", *TRAIN[2:], "--warm-up-loss-steps", 1]
    result = _invoke(*tiny, "--pairs", pairs_folder)
    assert result.exit_code == 0, result.output
    assert result.stdout == "runs/nets_to_train:Tiny\n"
    again = _invoke(*tiny, "--pairs", pairs_folder)
    assert "resumed at step 2" in again.stderr
    arguments = ["--test", pairs_folder, "--video", two_folders, "--trained-on", "four"]
    published = _invoke("publish", result.stdout.strip(), *arguments, "-o", "weights")
    assert published.exit_code == 0, published.output
    record = json.loads((tmp_path / "weights" / "Tiny.json").read_text())
    assert record["model"] == "nets_to_train:Tiny"
    assert (record["paper"], record["steps"]) == ("", 2)


def test_run_of_an_older_version_goes_on_with_its_own_loss(tmp_path, pairs_folder):
    folder = tmp_path / "run"
    arguments = [*TRAIN, "--pairs", pairs_folder, "-o", folder]
    _invoke(*arguments, "--warm-up-loss-steps", 0)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("warm_up_loss_steps") == 0
    (folder / "config.json").write_text(json.dumps(config))
    result = _invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "resumed at step 2" in result.stderr
    other = _invoke(*arguments, "--warm-up-loss-steps", 3)
    assert other.exit_code == 1
    assert "with other settings" in other.stderr


def test_new_run_starts_with_the_warm_up_loss(tmp_path, pairs_folder):
    folder = tmp_path / "run"
    result = _invoke(*TRAIN, "--pairs", pairs_folder, "-o", folder)
    assert result.exit_code == 0, result.output
    config = json.loads((folder / "config.json").read_text())
    assert config["warm_up_loss_steps"] == 500


@pytest.mark.parametrize("rate", ["inf", "nan"])
def test_learning_rate_that_is_no_number(tmp_path, pairs_folder, rate):
    arguments = ["--pairs", pairs_folder, "-o", tmp_path / "run"]
    result = _invoke(*TRAIN, *arguments, "--learning-rate", rate)
    assert result.exit_code == 2
    assert f"'{rate}'" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_run_that_diverges_is_one_line(tmp_path, pairs_folder, monkeypatch):
    train_step = Trainer._train_step

    def diverging(self, rate):
        terms = train_step(self, rate)
        next(self.model.parameters()).data.fill_(math.nan)
        return terms

    monkeypatch.setattr(Trainer, "_train_step", diverging)
    folder = tmp_path / "run"
    arguments = ["--pairs", pairs_folder, "-o", folder]
    result = _invoke(*TRAIN, *arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: training diverged: at step 2 the loss or the weights are not finite; "
        "start again in another --output with a smaller --learning-rate; the run is "
        "kept as it was at step 0"
    )
    assert not (folder / "state.pt").exists()


def test_folder_of_something_else_is_refused_at_once(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "web"}')
    result = _invoke(*TRAIN, "--pairs", tmp_path / "none", "-o", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path} holds a config.json of something else; "
        "choose another --output\n"
    )
    assert (tmp_path / "config.json").read_text() == '{"name": "web"}'


def test_scenes_of_a_folder_are_left_out(tmp_path, two_folders, pairs_folder):
    folder = tmp_path / "run"
    (pairs_folder / "3.png").unlink()
    photographs = ["--clean", two_folders / "clean", "--not-in", pairs_folder]
    result = _invoke(*TRAIN, *photographs, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "left out 3 of 4 photographs that show" in result.stderr
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
        [],
        ["--model", "nledn"],
        ["--model", "qsnet", "--rendered", "0.9", "--dry", "0.9"],
        ["--model", "qsnet", "--hours", "1", "--steps", "1"],
        ["--model", "qsnet", "--vgg", "vgg16.pth"],
        ["--model", "qsnet", "--batch", "0"],
    ],
)
def test_wrong_usage_is_exit_2(arguments):
    assert _invoke(*arguments).exit_code == 2
