"""Which frames begin another scene."""

import cv2
import numpy as np
import pytest

from derain.core.sizes import Size
from derain.core.synthetic.rain import PRESETS, rain_on_clip
from derain.core.synthetic.street import Street
from derain.runtime.pipeline.scene_cut import SceneCut

SIZE = Size(320, 180)


def street(seed, count=4):
    return [Street(SIZE, seed).frame(index) for index in range(count)]


def cuts(frames):
    """Indices of the frames that begin another scene."""
    scene_cut = SceneCut()
    return [index for index, frame in enumerate(frames) if scene_cut.saw(frame)]


def mirrored(frames):
    return [np.ascontiguousarray(frame[::-1, ::-1]) for frame in frames]


@pytest.mark.parametrize("preset", [None, "heavy", "downpour"])
def test_a_cut_is_seen_in_any_rain_and_nothing_else_is(preset):
    frames = street(1) + mirrored(street(2)) + street(1)
    if preset is not None:
        rain = PRESETS[preset].scaled(SIZE.height / 480)
        frames = list(rain_on_clip(frames, rain))
    assert cuts(frames) == [4, 8]


def test_rain_that_begins_and_ends_is_no_cut():
    dry, rain = street(1, 6), PRESETS["downpour"].scaled(SIZE.height / 480)
    wet = list(rain_on_clip(dry, rain))
    assert cuts([*dry[:2], *wet[2:4], *dry[4:]]) == []


@pytest.mark.parametrize(("gain", "offset"), [(1.3, 40), (0.5, 0), (1, -40)])
def test_another_exposure_is_no_cut(gain, offset):
    frames = street(1)
    frames[2] = cv2.convertScaleAbs(frames[2], alpha=gain, beta=offset)
    assert cuts(frames) == []


def test_pictures_that_show_nothing():
    black, grey = (
        np.zeros((180, 320, 3), np.uint8),
        np.full((180, 320, 3), 90, np.uint8),
    )
    noise = np.random.default_rng(0).integers(0, 9, (180, 320, 3), np.uint8)
    assert cuts([black, black, grey, noise, black]) == []
    assert cuts([black, *street(1), black]) == [1, 5]


@pytest.mark.parametrize("size", ["16x16", "17x40", "90x640", "1921x1083"])
def test_pictures_of_any_size(size):
    frames = street(1) + mirrored(street(2))
    size = Size.parse(size)
    assert cuts([cv2.resize(f, (size.width, size.height)) for f in frames]) == [4]


def test_the_first_frame_is_none():
    assert cuts(street(1, 1)) == []
