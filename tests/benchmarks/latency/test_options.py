from dataclasses import fields
from pathlib import Path

import pytest

from derain.benchmarks.latency.candidates import CANDIDATES
from derain.benchmarks.latency.options import (
    DEFAULT_SIZE,
    BenchmarkKeywords,
    BenchmarkOptions,
    options_of,
)
from derain.benchmarks.own_network import OwnNetwork
from derain.core.errors import ConfigError
from derain.core.sizes import Size
from derain.models.forward_inputs import Feed


def test_the_keywords_are_the_options():
    names = {each.name for each in fields(BenchmarkOptions)}
    assert BenchmarkKeywords.__annotations__.keys() == names


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ("64x48", [(64, 48)]),
        ((64, 48), [(64, 48)]),
        (Size(64, 48), [(64, 48)]),
        (["64x48", (32, 24)], [(64, 48), (32, 24)]),
    ],
)
def test_sizes_may_be_written_as_people_do(size, wanted):
    assert options_of({"size": size}).size == tuple(Size(*each) for each in wanted)


def test_paths_may_be_text():
    options = options_of({"work": "here", "pairs": Path("there"), "rows": ["eager"]})
    assert (options.work, options.pairs) == (Path("here"), Path("there"))
    assert options.rows == ("eager",)


def test_without_sizes_and_rows_there_are_defaults():
    options = BenchmarkOptions().resolved()
    assert options.size == (DEFAULT_SIZE,)
    assert options.rows == tuple(CANDIDATES)


def test_quick_changes_what_nobody_asked_for():
    options = BenchmarkOptions(quick=True, duration=7.0).resolved()
    assert options.rows == ("eager", "plain-onnx", "bundle-fp32")
    assert options.duration == 7.0
    assert options.min_rounds < BenchmarkOptions().min_rounds
    assert options.warm_up < BenchmarkOptions().warm_up


@pytest.mark.parametrize(
    ("options", "networks", "message"),
    [
        ({"weights": Path("w"), "random_weights": True}, 1, "exclude each other"),
        ({"calibration": Path("c"), "calibrate_on": "v"}, 1, "exclude each other"),
        ({"weights": Path("w")}, 2, "--weights needs exactly one --model"),
        ({"calibration": Path("c")}, 0, "--calibration needs exactly one --model"),
    ],
)
def test_what_does_not_go_together_is_named(options, networks, message):
    assert message in BenchmarkOptions(**options).conflict(networks)


def test_what_goes_together_is_no_conflict():
    assert BenchmarkOptions(weights=Path("w")).conflict(1) is None
    assert BenchmarkOptions(random_weights=True, calibrate_on="v").conflict(3) is None


def test_a_network_of_ones_own_is_described_as_for_an_export():
    options = options_of(
        {"args": {"width": 4}, "inputs": {"x": "half"}, "value_range": "-1,1"}
    )
    assert options.args == (("width", 4),)
    assert options.inputs == (("x", Feed("half")),)
    assert options.value_range == (-1.0, 1.0)
    own = OwnNetwork.of(options, own=True)
    assert own.arguments() == ["--range=-1.0,1.0", "--arg=width=4", "--input=x=half"]
    with pytest.raises(ConfigError, match="inputs: 'third' is no input"):
        options_of({"inputs": {"x": "third"}})
