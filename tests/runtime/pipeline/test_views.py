"""Views: what a sink shows of a frame before and after."""

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest

from derain.core.sizes import Size
from derain.runtime.pipeline.options import View
from derain.runtime.pipeline.views import ViewedSink, compose, view_info
from derain.runtime.video.frames import Frame, SourceInfo

RAINY = np.full((48, 64, 3), 150, np.uint8)
DERAINED = np.full((48, 64, 3), 140, np.uint8)
INFO = SourceInfo(
    description="x", time_base=Fraction(1, 25), fps=Fraction(25), size=Size(64, 48)
)


class Recorder:
    name = "out.mp4"
    keeps = True
    notes = ("a note",)

    def __init__(self):
        self.frames, self.calls = [], []

    def write(self, frame):
        self.frames.append(frame)

    def finish(self):
        self.calls.append("finish")

    def close(self):
        self.calls.append("close")


def test_derained_is_the_picture_itself():
    assert compose("derained", RAINY, DERAINED) is DERAINED


def test_side_by_side_has_before_on_the_left():
    picture = compose("side-by-side", RAINY, DERAINED)
    assert (picture[:, :64] == 150).all()
    assert (picture[:, 64:] == 140).all()


def test_split_has_half_of_each_and_a_line():
    picture = compose("split", RAINY, DERAINED)
    assert (picture[:, :32] == 150).all()
    assert (picture[:, 32] == 255).all()
    assert (picture[:, 33:] == 140).all()


def test_rain_is_the_amplified_difference():
    assert (compose("rain", RAINY, DERAINED) == 40).all()
    assert (compose("rain", DERAINED, RAINY) == 40).all()
    assert (compose("rain", RAINY, RAINY * 0) == 255).all()  # and not wrapped round


@pytest.mark.parametrize("view", get_args(View))
def test_the_size_a_sink_is_told_is_the_size_it_gets(view):
    picture = compose(view, RAINY, DERAINED)
    size = view_info(INFO, view).size
    assert picture.shape == (size.height, size.width, 3)
    assert (RAINY == 150).all()
    assert (DERAINED == 140).all()


def test_a_size_that_is_not_known_stays_so():
    info = SourceInfo(description="x", time_base=INFO.time_base, fps=INFO.fps)
    assert view_info(info, "side-by-side").size is None


def test_a_viewed_sink_passes_everything_on():
    inner = Recorder()
    sink = ViewedSink(inner, "rain")
    sink.write(Frame(DERAINED, 3, Fraction(3, 25), rainy=RAINY))
    sink.finish()
    sink.close()
    assert (sink.name, sink.keeps, sink.notes) == ("out.mp4", True, ("a note",))
    assert inner.calls == ["finish", "close"]
    assert inner.frames[0].index == 3
    assert (inner.frames[0].image == 40).all()


def test_an_overlay_leaves_the_frame_of_other_sinks_alone():
    inner = Recorder()
    frame = Frame(np.full((240, 320, 3), 100, np.uint8), 0, Fraction(0))
    ViewedSink(inner, "derained", lambda: "24.0 frames/s").write(frame)
    assert (frame.image == 100).all()
    shown = inner.frames[0].image
    assert shown[:40].max() > 200
    assert (shown[60:] == 100).all()
