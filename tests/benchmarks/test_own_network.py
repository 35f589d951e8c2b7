"""What is said of a network of one's own reaches every command that feeds it."""

import pytest

from derain.benchmarks.latency.options import BenchmarkOptions
from derain.benchmarks.own_network import OwnNetwork
from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.errors import ConfigError
from derain.export.cli import main

SAID = {
    "bgr": True,
    "rain": True,
    "output_index": 2,
    "multiple_of": 8,
    "minimum": 32,
    "window": 5,
    "look_ahead": 1,
}


@pytest.mark.parametrize("options", [BenchmarkOptions, EvaluateOptions])
def test_the_exporter_gets_what_was_said(options):
    own = OwnNetwork.of(options(**SAID), own=True)
    arguments = ["--model", "nets:Net", *own.arguments()]
    parsed = main.make_context("derain-export", arguments).params
    assert {name: parsed[name] for name in SAID} == SAID
    assert own.facts.multiple_of == 8
    assert (own.window, own.look_ahead) == (5, 1)


def test_what_is_as_usual_needs_no_words():
    assert OwnNetwork().arguments() == []
    assert OwnNetwork.of(BenchmarkOptions(), own=False) == OwnNetwork()


@pytest.mark.parametrize("name", SAID)
def test_a_network_that_ships_is_fed_as_the_registry_says(name):
    with pytest.raises(ConfigError, match="for a network of your own"):
        OwnNetwork.of(EvaluateOptions(**{name: SAID[name]}), own=False)
