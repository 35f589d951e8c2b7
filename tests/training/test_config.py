import json
import math

import pytest

from derain.core.errors import ConfigError
from derain.training.config import Mixture, TrainingConfig
from derain.training.options import NAMES
from derain.training.recipes import config_for, with_changes


@pytest.mark.parametrize("name", NAMES)
def test_config_survives_json(name):
    config = with_changes(
        config_for(name), mixture=Mixture(rendered=0.3, dry=0.1), not_in=("a/b",)
    )
    assert TrainingConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_config_of_an_older_run():
    value = config_for("qsnet").to_json()
    del value["not_in"], value["warm_up_loss_steps"]
    config = TrainingConfig.from_json(value)
    assert config == with_changes(config_for("qsnet"), warm_up_loss_steps=0)


def test_config_wants_one_length():
    with pytest.raises(ValueError, match="either steps or hours"):
        TrainingConfig(model="qsnet", learning_rate=1e-3, crop=16, batch=1)


@pytest.mark.parametrize("name", ["learning_rate", "hours"])
@pytest.mark.parametrize("value", [math.inf, math.nan, 0.0, -1.0])
def test_numbers_that_are_none(name, value):
    with pytest.raises(ConfigError, match=f"{name.replace('_', ' ')} is"):
        with_changes(config_for("qsnet"), **{name: value})


def test_parts_of_the_mixture():
    with pytest.raises(ConfigError, match=r"got 0\.9 and 0\.2, wanted at most 1"):
        Mixture(rendered=0.9, dry=0.2)
    with pytest.raises(ConfigError, match="got nan"):
        Mixture(rendered=math.nan)


def test_progress_by_steps_or_by_hours():
    config = with_changes(config_for("qsnet"), steps=10)
    assert config.progress(5, 1e9) == 0.5
    config = with_changes(config_for("qsnet"), hours=2.0)
    assert config.progress(10**9, 3600) == 0.5
