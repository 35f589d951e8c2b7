"""Frames that a bundle does not take, fitted into it: their shape, scale and detail."""

import cv2
import numpy as np
import pytest

from derain.core.metrics import psnr_db
from derain.core.sizes import Size, SizeRange
from derain.runtime.frame_fit import FrameFit, letterboxed

RANGE = "64x32,640x480,1920x1080"
STATIC = "1280x720"


def fit_of(size, sizes):
    return FrameFit.of(Size.parse(size), SizeRange.parse(sizes))


def noise(size, seed=0):
    size = Size.parse(size)
    shape = (size.height, size.width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("size", "sizes", "scaled", "shown"),
    [
        ("640x480", RANGE, "640x480", "640x480"),
        ("3840x2160", RANGE, "1920x1080", "1920x1080"),
        ("3840x1080", RANGE, "1920x540", "1920x540"),
        ("1080x1920", RANGE, "608x1080", "608x1080"),
        ("32x16", RANGE, "32x16", "64x32"),  # never enlarged
        ("5000x20", RANGE, "1920x8", "1920x32"),
        ("1920x1080", STATIC, "1280x720", STATIC),
        ("1080x1920", STATIC, "405x720", STATIC),  # a telephone held upright
        ("640x480", STATIC, "640x480", STATIC),
        ("1921x1081", STATIC, "1279x720", STATIC),
        ("8000x1", STATIC, "1280x1", STATIC),
        ("1x1", STATIC, "1x1", STATIC),
    ],
)
def test_the_shape_is_kept_and_nothing_is_enlarged(size, sizes, scaled, shown):
    fit = fit_of(size, sizes)
    assert (str(fit.scaled), str(fit.shown)) == (scaled, shown)
    assert fit.shown in SizeRange.parse(sizes)
    assert fit.scale <= 1


def test_it_says_its_scale_and_what_becomes_of_the_picture():
    assert str(fit_of("1920x1080", "640x360")).startswith(
        "1920x1080 -> 640x360, scale 0.33: rain is found in the smaller picture"
    )
    upright = str(fit_of("1080x1920", STATIC))
    assert upright.startswith("1080x1920 -> 405x720 in 1280x720, scale 0.38: ")
    small = str(fit_of("640x480", STATIC))
    assert small.startswith("640x480 -> 640x480 in 1280x720, scale 1.00: continued by")


@pytest.mark.parametrize("sizes", ["48x36", "64x48", "32x32,64x48,64x64"])
def test_without_a_scale_it_is_what_the_network_makes_to_the_bit(sizes):
    image, fit = noise("48x36"), fit_of("48x36", sizes)
    shown = fit.into(image)
    np.testing.assert_array_equal(shown[:36, :48], image)
    np.testing.assert_array_equal(fit.back(image, shown, 255 - shown), 255 - image)
    if fit.shown == fit.source:
        assert shown is image
    else:  # its border goes on
        np.testing.assert_array_equal(shown[35, 48:], image[[35] * 16, 47])


@pytest.mark.parametrize("size", ["96x64", "95x61", "36x90"])
def test_where_nothing_is_taken_away_the_frame_stays_to_the_bit(size):
    image, fit = noise(size), fit_of(size, "64x48")
    shown = fit.into(image)
    assert shown.shape == (48, 64, 3)
    back = fit.back(image, shown, shown)
    assert back is not image
    np.testing.assert_array_equal(back, image)


def test_rain_is_taken_off_and_detail_stays():
    """Noise is all detail; rain here is smooth: a blurred streak."""
    clean = noise("96x72") // 2
    streak = np.zeros_like(clean)
    streak[:, 40:52] = 90
    rain = cv2.GaussianBlur(streak, (0, 0), 4)
    image, fit = clean + rain, fit_of("96x72", "64x48")
    shown = fit.into(image)
    derained = fit.into(clean)
    assert psnr_db(fit.back(image, shown, derained), clean) > 40
    enlarged = cv2.resize(derained, (96, 72), interpolation=cv2.INTER_CUBIC)
    assert psnr_db(enlarged, clean) < 25


def test_levels_end_at_black_and_white():
    image, fit = noise("96x72"), fit_of("96x72", "48x36")
    shown = fit.into(image)
    for level in (0, 255):
        back = fit.back(image, shown, np.full_like(shown, level))
        assert back.dtype == np.uint8
        assert abs(float(back.mean()) - level) < 60  # not wrapped around: half is 128


@pytest.mark.parametrize("size", ["64x48", "128x96", "30x90", "7x5"])
def test_a_letterbox_keeps_the_shape(size):
    image = np.full_like(noise(size), 200)
    framed = letterboxed(image, Size(64, 48))
    assert framed.shape == (48, 64, 3)
    lit = framed[:, :, 0] > 100
    height, width = lit.any(1).sum(), lit.any(0).sum()
    scale = min(64 / image.shape[1], 48 / image.shape[0])
    assert abs(width - image.shape[1] * scale) <= 1
    assert abs(height - image.shape[0] * scale) <= 1
