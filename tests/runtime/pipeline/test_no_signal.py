"""The picture that sinks get while a live source is lost."""

from fractions import Fraction

import numpy as np

from derain.runtime.pipeline.no_signal import NoSignal, no_signal_picture
from derain.runtime.video.frames import Frame

UNIT = Fraction(1, 1000)


def frame(time=Fraction(2)):
    return Frame(np.full((48, 64, 3), 200, np.uint8), 7, time, captured=10.0)


def test_before_the_first_frame_there_is_none():
    assert NoSignal(UNIT).frame(lost_since=0, now=5) is None


def test_it_is_dim_and_has_a_text():
    picture = no_signal_picture(np.full((360, 640, 3), 200, np.uint8), 12.3)
    assert picture[0, 0].tolist() == [50, 50, 50]
    assert picture.max() == 255
    other = no_signal_picture(np.full((360, 640, 3), 200, np.uint8), 13.3)
    assert (picture != other).any()  # the seconds


def test_it_comes_twice_a_second():
    stand_ins = NoSignal(UNIT)
    stand_ins.saw(frame(), 10)
    times = [t / 100 for t in range(1000, 1200)]
    shown = [t for t in times if stand_ins.frame(lost_since=10, now=t) is not None]
    assert shown == [10, 10.5, 11, 11.5]


def test_its_times_go_on_with_the_clock_and_are_marked():
    stand_ins = NoSignal(UNIT)
    stand_ins.saw(frame(), 10)
    first = stand_ins.frame(10, 11)
    second = stand_ins.frame(10, 12)
    assert (first.time, second.time) == (3, 4)
    assert not first.signal
    assert first.rainy is first.image


def test_a_frame_after_it_is_later():
    stand_ins = NoSignal(UNIT)
    stand_ins.saw(frame(), 10)
    stand_ins.frame(10, 12)
    assert stand_ins.saw(frame(Fraction(5, 2)), 12.1).time == 4 + UNIT
    assert stand_ins.saw(frame(Fraction(9, 2)), 12.2).time == Fraction(9, 2)
