import numpy as np
import pytest

from derain.core.synthetic.motion import Motion, moving_camera, with_confusers


@pytest.fixture
def photograph():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    return np.repeat(np.repeat(noise, 8, 0), 8, 1)


def _seen(photograph, times=(0, 1, 2), seed=1, **motion):
    random = np.random.default_rng(seed)
    return moving_camera(photograph, 48, Motion(**motion), times, random)


def test_camera_that_stands_still_sees_one_picture(photograph):
    first, *others = _seen(photograph)
    assert first.shape == (48, 48, 3)
    assert len(others) == 2
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize(
    "motion", [{"pan_px": 4}, {"turn_degrees": 2}, {"zoom": 0.03}, {"shake_px": 2}]
)
def test_camera_that_moves_sees_others(photograph, motion):
    first, second, third = _seen(photograph, **motion)
    assert (first != second).any()
    assert (second != third).any()


def test_lost_frames_are_further_apart(photograph):
    near = _seen(photograph, (0, 1), pan_px=1)
    far = _seen(photograph, (0, 3), pan_px=1)

    def change(frames):
        return np.abs(np.diff(np.stack(frames).astype(int), axis=0)).mean()

    assert change(far) > 1.5 * change(near)


def test_times_step_over_lost_frames():
    random = np.random.default_rng(0)
    steps = np.concatenate(
        [np.diff(Motion(longest_step=3).times(5, random)) for _ in range(50)]
    )
    assert set(steps) == {1, 2, 3}
    assert Motion().times(4, random) == [0, 1, 2, 3]


def test_confusers_are_part_of_the_scene(photograph):
    grey = np.full_like(photograph, 90)
    drawn = with_confusers(grey, 10, np.random.default_rng(2))
    changed = (drawn != grey).any(-1)
    assert 0.005 < changed.mean() < 0.5
    assert (grey == 90).all()
    frames = _seen(grey, confusers=20)
    assert (frames[0] != 90).any()
    np.testing.assert_array_equal(frames[0], frames[1])  # they stay where they are
