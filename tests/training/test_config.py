import json
import shlex

import pytest
from click.testing import CliRunner

from derain.core.errors import UnknownNameError
from derain.models.registry import MODELS
from derain.training import run
from derain.training.cli import main
from derain.training.config import (
    CONFIGS,
    RECIPES,
    TrainingConfig,
    config_for,
    with_changes,
)
from derain.training.data import Mixture
from derain.training.losses import OBJECTIVES


def test_every_network_that_is_trained_has_recipe_settings_and_loss():
    assert CONFIGS.keys() == RECIPES.keys() == OBJECTIVES.keys()
    assert CONFIGS.keys() == MODELS.keys() - {"nledn"}  # whose weights are published
    assert all(config.model == name for name, config in CONFIGS.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_config_survives_json(name):
    config = with_changes(
        config_for(name), mixture=Mixture(rendered=0.3, dry=0.1), not_in=("a/b",)
    )
    assert TrainingConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_config_of_an_older_run_left_no_scenes_out():
    value = config_for("qsnet").to_json()
    del value["not_in"]
    assert TrainingConfig.from_json(value) == config_for("qsnet")


def test_steps_replace_hours_and_the_reverse():
    config = with_changes(config_for("qsnet"), steps=5)
    assert (config.steps, config.hours) == (5, None)
    config = with_changes(config, hours=2.0, crop=None)
    assert (config.steps, config.hours) == (None, 2.0)


def test_config_wants_one_length():
    with pytest.raises(ValueError, match="either steps or hours"):
        TrainingConfig(model="qsnet", learning_rate=1e-3, crop=16, batch=1)


def test_departures_name_what_differs_from_the_paper():
    config = with_changes(
        config_for("treefusion"), crop=64, batch=10, learning_rate=1e-3, steps=300_000
    )
    departures = "; ".join(config.departures())
    assert "crop 64 (paper: 100)" in departures
    assert "half a cosine to 1e-06 (paper: times 0.1 at 1/3" in departures
    assert "batch" not in departures
    assert not any(line.startswith("steps") for line in config.departures())


def test_departures_name_warm_up_and_mixture():
    mixture = Mixture(rendered=0.3, dry=0.15)
    config = with_changes(config_for("qsnet"), mixture=mixture, pair_sets=2)
    departures = config.departures()
    assert "warm-up of the learning rate over 200 steps" in departures
    assert "30% of the crops in rendered rain" in departures
    assert "15% of the crops without rain" in departures
    assert "2 sets of pairs give as many crops each" in departures


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
    assert absent not in "; ".join(config.departures())


def test_without_pairs_all_rain_is_rendered():
    mixture = Mixture(rendered=0.3, dry=0.2)
    config = with_changes(config_for("qsnet"), mixture=mixture, pair_sets=0)
    assert "80% of the crops in rendered rain" in config.departures()


def test_departures_of_stagewise_name_the_stand_in():
    assert any("SSIM" in line for line in config_for("stagewise").departures())
    with_vgg = with_changes(config_for("stagewise"), vgg=True)
    assert not any("SSIM" in line for line in with_vgg.departures())


@pytest.mark.parametrize("photographs", [True, False])
def test_command_gives_the_settings_back(monkeypatch, photographs):
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
    )
    given = []
    monkeypatch.setattr(
        run, "train", lambda config, *rest, **more: given.append(config)
    )
    monkeypatch.setattr(run, "checkpoint_hash", lambda path: "0123")
    result = CliRunner().invoke(main, shlex.split(config.command())[1:])
    assert result.exit_code == 0, result.output
    assert given == [config]


def test_unknown_network():
    with pytest.raises(UnknownNameError, match="unknown network to train 'nledn'"):
        config_for("nledn")
