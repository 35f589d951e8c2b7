import shlex
import shutil

import pytest
from click.testing import CliRunner

from derain.core.errors import UnknownNameError
from derain.core.synthetic.mixture import DEFAULT, read_mixture
from derain.models.registry import MODELS
from derain.training import run
from derain.training.cli import main
from derain.training.config import Mixture
from derain.training.losses import OBJECTIVES
from derain.training.options import NAMES
from derain.training.recipes import (
    RECIPES,
    config_for,
    configured,
    departures,
    with_changes,
)


def test_rows_are_of_networks_that_are_trained():
    assert RECIPES.keys() | OBJECTIVES.keys() <= set(NAMES)
    assert set(NAMES) == MODELS.keys() - {"nledn"}  # whose weights are published


def test_network_without_a_row_has_settings():
    config = config_for("my.nets:Own")
    assert config.model == "my.nets:Own"
    assert config.hours == 1.0
    assert config.warm_up_loss_steps == 500
    found = departures(config)
    assert not any("paper" in line for line in found)
    assert any("first 500 steps" in line for line in found)


def test_row_replaces_what_it_names():
    config = config_for("granet")
    assert (config.learning_rate, config.crop, config.batch) == (5e-4, 96, 8)


def test_steps_replace_hours_and_the_reverse():
    config = with_changes(config_for("qsnet"), steps=5)
    assert (config.steps, config.hours) == (5, None)
    config = with_changes(config, hours=2.0, crop=None)
    assert (config.steps, config.hours) == (None, 2.0)


def test_departures_name_what_differs_from_the_paper():
    config = with_changes(
        config_for("treefusion"), crop=64, batch=10, learning_rate=1e-3, steps=300_000
    )
    found = "; ".join(departures(config))
    assert "crop 64 (paper: 100)" in found
    assert "half a cosine to 1e-06 (paper: times 0.1 at 1/3" in found
    assert "batch" not in found
    assert not any(line.startswith("steps") for line in departures(config))


def test_departures_name_warm_up_and_mixture():
    mixture = Mixture(rendered=0.3, dry=0.15)
    config = with_changes(config_for("qsnet"), mixture=mixture, pair_sets=2)
    found = departures(config)
    assert "warm-up of the learning rate over 200 steps" in found
    assert "30% of the crops in rendered rain" in found
    assert "15% of the crops without rain" in found
    assert "2 sets of pairs give as many crops each" in found


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"warmup_steps": 0}, "warm-up"),
        ({"mixture": Mixture(rendered=0, dry=0.1)}, "rendered"),
        ({"mixture": Mixture(rendered=0.1, dry=0)}, "without rain"),
        ({"photographs": False}, "rendered"),
        ({}, "sets of pairs"),
    ],
)
def test_departures_name_only_what_a_run_has(changes, absent):
    config = with_changes(config_for("qsnet"), **changes)
    assert absent not in "; ".join(departures(config))


def test_without_pairs_all_rain_is_rendered():
    mixture = Mixture(rendered=0.3, dry=0.2)
    config = with_changes(config_for("qsnet"), mixture=mixture, pair_sets=0)
    assert "80% of the crops in rendered rain" in departures(config)


def test_departures_of_stagewise_name_the_stand_in():
    assert any("SSIM" in line for line in departures(config_for("stagewise")))
    with_vgg = with_changes(config_for("stagewise"), vgg=True)
    assert not any("SSIM" in line for line in departures(with_vgg))


@pytest.mark.parametrize("photographs", [True, False])
def test_command_gives_the_settings_back(tmp_path, monkeypatch, photographs):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEFAULT, "RAIN")
    config = with_changes(
        config_for("stagewise"),
        photographs=photographs,
        steps=7,
        batch=3,
        bf16=True,
        channels_last=True,
        compile=True,
        vgg=True,
        first_weights="0123",
        pair_sets=2,
        not_in=("pairs/test", "my videos/a1"),
        warm_up_loss_steps=12,
        clip_sets=2,
        validation_clips=3,
        rain=read_mixture(),
    )
    given = []
    monkeypatch.setattr(run, "train", given.append)
    result = CliRunner().invoke(main, shlex.split(config.command())[1:])
    assert result.exit_code == 0, result.output
    assert [configured(options, "0123") for options in given] == [config]


def test_unknown_network():
    with pytest.raises(UnknownNameError, match="unknown network to train 'nledn'"):
        config_for("nledn")
