"""Flicker and the warping error, on motion whose answer is known."""

import math

import cv2
import numpy as np
import pytest

from derain.core.errors import ShapeError
from derain.core.temporal_metrics import FrameMotion

HEIGHT, WIDTH = 64, 96
LUMA_OF_GREY = 219 / 255  # of a grey level


def texture(shift=0, seed=0):
    """A smooth pattern, moved to the right by so many pixels."""
    random = np.random.default_rng(seed)
    wide = random.normal(0, 1, (HEIGHT, WIDTH + 40)).astype(np.float32)
    wide = cv2.GaussianBlur(wide, (0, 0), 2)
    wide = 128 + 60 * wide / np.abs(wide).max()
    grey = np.rint(wide[:, 20 - shift : 20 - shift + WIDTH]).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def test_what_stands_still_and_stays_does_not_flicker():
    motion = FrameMotion(texture(), texture())
    assert motion.static_share == 1.0
    assert motion.visible.all()
    same = motion.unrest(texture(), texture())
    assert (same.flicker, same.warping_mse) == (0.0, 0.0)
    # Wrong by as much in both frames: not good, but steady.
    assert motion.unrest(texture() + 9, texture() + 9).flicker == pytest.approx(0.0)


def test_flicker_is_the_mean_change_of_what_stands_still():
    motion = FrameMotion(texture(), texture())
    after = texture()
    after[:, : WIDTH // 4] += 20
    unrest = motion.unrest(texture(), after)
    assert unrest.flicker == pytest.approx(20 * LUMA_OF_GREY / 4, rel=1e-3)
    assert unrest.warping_mse == pytest.approx((20 * LUMA_OF_GREY) ** 2 / 4, rel=1e-3)


def test_what_moves_does_not_count_as_flicker():
    before, after = texture(), texture()
    before[:, WIDTH // 2 :] = texture(0, seed=1)[:, WIDTH // 2 :]
    after[:, WIDTH // 2 :] = texture(6, seed=1)[:, WIDTH // 2 :]
    motion = FrameMotion(before, after)
    assert 0.4 < motion.static_share < 0.65
    wrong = after.copy()
    wrong[:, WIDTH // 2 + 8 :] += 30
    assert motion.unrest(before, wrong).flicker < 1.5


def test_the_warping_error_follows_the_motion():
    before, after = texture(0), texture(3)
    motion = FrameMotion(before, after)
    unwarped = np.square((after.astype(float) - before)[..., 0]).mean()
    assert motion.clean_warping_mse() < unwarped / 50
    assert motion.unrest(before, after).warping_mse == motion.clean_warping_mse()
    # Brighter by 10 in one of the two frames, wherever it moved to.
    unrest = motion.unrest(before, after + 10)
    assert unrest.warping_mse == pytest.approx((10 * LUMA_OF_GREY) ** 2, rel=0.15)
    # A streak of rain in one frame alone.
    streak = after.copy()
    streak[:, 40:44] = 255
    assert motion.unrest(before, streak).warping_mse > 100


def test_what_was_hidden_is_not_compared():
    """A square moves over a pattern by 8 px: what was behind it has no frame before."""
    frames = []
    for left in (40, 48):
        frame = texture()
        frame[16:48, left : left + 24] = texture(seed=5)[16:48, 40:64]
        frames.append(frame)
    motion = FrameMotion(*frames)
    uncovered, elsewhere = motion.visible[18:46, 41:47], motion.visible[:, 80:]
    assert uncovered.mean() < 0.3
    assert elsewhere.mean() > 0.95


def test_where_nothing_stands_still_there_is_no_figure():
    before = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    motion = FrameMotion(before, np.full_like(before, 200))
    assert motion.static_share == 0
    assert math.isnan(motion.unrest(before, before).flicker)


@pytest.mark.parametrize("shapes", [((20, 20), (20, 21)), ((15, 40), (15, 40))])
def test_frames_that_cannot_be_compared(shapes):
    frames = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    with pytest.raises(ShapeError, match="16x16 or larger"):
        FrameMotion(*frames)
