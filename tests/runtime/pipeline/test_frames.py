"""Which frames go through the network, and in which size."""

import itertools
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from derain.core.errors import ShapeError
from derain.core.sizes import Size
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.rain_gate import RainGate, RainGateOptions
from derain.runtime.video.frames import SourceInfo


def test_the_limit_is_of_frames_that_went_on(derainer, within, image, fakes):
    options = LoopOptions(limit=3)
    endless = fakes.Camera(itertools.repeat(image()), lambda: time.sleep(0.001))
    screen = fakes.Screen()
    within(endless, derainer, [screen], options)
    assert options.statistics["derained"] == 3
    assert fakes.adds_up(options.statistics)
    assert endless.closed == 1


def test_another_size_is_scaled_to_the_first_with_resize(
    derainer, within, image, fakes
):
    first = threading.Event()
    screen = fakes.Screen(lambda frame: first.set())
    waits = iter((lambda: None, lambda: first.wait(fakes.SECONDS)))
    pictures = [image(), image(Size(128, 96))]
    camera = fakes.Camera(pictures, lambda: next(waits)())
    within(camera, derainer, [screen], LoopOptions(resize=True))
    assert [frame.size for frame in screen.frames] == [Size(64, 48)] * 2
    assert [frame.rainy.shape for frame in screen.frames] == [(48, 64, 3)] * 2


def test_a_camera_that_is_turned_upright_is_not_squeezed(derainer, within, fakes):
    first = threading.Event()
    screen = fakes.Screen(lambda frame: first.set())
    waits = iter((lambda: None, lambda: first.wait(fakes.SECONDS)))
    pictures = [
        np.full((48, 64, 3), 200, np.uint8),
        np.full((64, 48, 3), 200, np.uint8),
    ]
    camera = fakes.Camera(pictures, lambda: next(waits)())
    within(camera, derainer, [screen], LoopOptions(resize=True))
    upright = screen.frames[1].image  # 36x48 in the middle of black
    assert (upright[:, 14:50] == 100).all()
    assert not upright[:, :14].any()
    assert not upright[:, 50:].any()


def test_another_size_without_resize_is_a_clear_stop(derainer, within, image, fakes):
    message = "^frame 0: frame is 128x96, the bundle takes 64x48; run: "
    with pytest.raises(ShapeError, match=message):
        within(
            fakes.Camera([image(Size(128, 96))]),
            derainer,
            [fakes.Screen()],
            LoopOptions(),
        )


def test_a_dry_scene_passes_through_untouched(derainer, within, image, fakes):
    """Here, what is dark is dry: darken takes little away from it."""
    dark = np.ones((48, 64, 3), np.uint8)  # darken takes one level away
    gate = RainGate(RainGateOptions(dry_below=2, rain_above=3, hold_s=0, look_every=5))
    options = LoopOptions(gate=gate)
    screen = fakes.Screen()
    pictures = [dark] * 12 + [image()] * 12

    class File(fakes.Camera):
        def __init__(self, images):
            super().__init__(images)
            self.info = SourceInfo(
                description="file",
                time_base=fakes.TICK,
                fps=Fraction(30),
                size=Size(64, 48),
            )

    within(File(pictures), derainer, [screen], options)
    statistics = options.statistics
    assert fakes.adds_up(statistics)
    # The first is derained, then every fifth is looked at; the third look sees rain.
    assert [frame.passed for frame in screen.frames] == [
        *[False],
        *[True] * 14,
        *[False] * 9,
    ]
    assert statistics["looks"] == 2
    assert statistics.gate == "rain"
    np.testing.assert_array_equal(screen.frames[5].image, dark)
    np.testing.assert_array_equal(screen.frames[-1].image, image() >> 1)
