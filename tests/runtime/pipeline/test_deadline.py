import re
from fractions import Fraction

import pytest

from derain.core.errors import ConfigError
from derain.runtime.pipeline.deadline import Deadline, check_room
from derain.runtime.video.frames import SourceInfo


def test_without_experience_only_the_age_counts():
    deadline = Deadline(0.1)
    assert deadline.allows(0.1)
    assert not deadline.allows(0.11)


def test_the_expected_work_counts():
    deadline = Deadline(0.1)
    deadline.derained(0.06)
    deadline.written(0.03)
    assert deadline.allows(0.009)
    assert not deadline.allows(0.011)


def test_expectations_follow():
    deadline = Deadline(0.1)
    for seconds in [0.08] * 5 + [0.02] * 50:
        deadline.derained(seconds)
    assert deadline.allows(0.07)


def test_a_hopeless_expectation_is_tried_again():
    deadline = Deadline(0.1)
    deadline.derained(1.0)  # the first call of an engine
    refused = 0
    while not deadline.allows(0.01) and refused < 1000:
        refused += 1
    assert 10 < refused < 100


def info(live=True):
    return SourceInfo(
        description="camera", time_base=Fraction(1, 90000), fps=Fraction(30), live=live
    )


def test_look_ahead_needs_room_under_a_latency(fakes):
    bundles = [fakes.manifest(), fakes.manifest(("state_0",), look_ahead=2)]
    message = (
        "--max-latency-ms 60 leaves no room for the look-ahead of bundle: 2 of 30 "
        "frames/s take 67 ms, and the network comes on top"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_room(info(), bundles, 60)
    check_room(info(), bundles, 70)
    check_room(info(), bundles, None)
    check_room(info(live=False), bundles, 60)
    check_room(info(), bundles[:1], 1)
