"""The rain gate: what it measures and when it changes its mind."""

import numpy as np
import pytest

from derain.runtime.pipeline.rain_gate import RainGate, RainGateOptions, removed

OPTIONS = RainGateOptions(dry_below=1.0, rain_above=2.0, hold_s=3.0, look_every=4)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return RainGate(OPTIONS, clock)


def see(gate, clock, level, seconds=1.0):
    """The network took `level` grey levels away, `seconds` after the last time."""
    clock.now += seconds
    rainy = np.full((32, 32, 3), 100, np.uint8)
    derained = rainy.copy()
    derained[:, ::16] -= np.uint8(2 * level)  # half of the pixels that are looked at
    gate.saw(rainy, derained)


def test_the_measure_is_in_grey_levels():
    rainy = np.full((48, 64, 3), 10, np.uint8)
    assert removed(rainy, rainy) == 0
    assert removed(rainy, rainy + np.uint8(5)) == 5
    assert removed(rainy + np.uint8(5), rainy) == 5


def test_it_takes_a_time_without_rain_to_get_dry(gate, clock):
    for _ in range(3):
        see(gate, clock, 0.5)
        assert not gate.dry
        assert gate.needs_network()
    see(gate, clock, 0.5)
    assert gate.dry


def test_rain_in_between_starts_the_time_again(gate, clock):
    for level in (0.5, 0.5, 0.5, 1.5, 0.5, 0.5, 0.5):
        see(gate, clock, level)
    assert not gate.dry


def test_while_dry_every_so_many_frames_is_looked_at(gate, clock):
    for _ in range(4):
        see(gate, clock, 0)
    needed = []
    for _ in range(9):
        needed.append(gate.needs_network())
        if needed[-1]:
            see(gate, clock, 0)
    assert needed == [False, False, False, True] * 2 + [False]


def test_between_the_thresholds_nothing_changes(gate, clock):
    see(gate, clock, 1.5, seconds=100)
    assert not gate.dry
    for _ in range(4):
        see(gate, clock, 0)
    see(gate, clock, 1.5)
    assert gate.dry


def test_one_look_at_rain_is_enough(gate, clock):
    for _ in range(4):
        see(gate, clock, 0)
    see(gate, clock, 3)
    assert not gate.dry
    assert gate.rain == 3
    assert all(gate.needs_network() for _ in range(20))
