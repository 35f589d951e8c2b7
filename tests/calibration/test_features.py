"""What tells frames apart, on a street of 320x180."""

import numpy as np
import pytest

from derain.calibration.features import Features, describe, stratify
from derain.calibration.frame_store import FrameStore
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.core.synthetic.rain import LINES, PRESETS, render_rain
from derain.core.synthetic.street import Street

SIZE = Size(320, 180)
AMOUNTS = ("light", "moderate", "heavy", "downpour")


@pytest.fixture(scope="module")
def streets():
    return [Street(SIZE, seed).frame(20) for seed in range(3)]


def noisy(frame, sigma, seed):
    noise = np.random.default_rng(seed).normal(size=frame.shape) * sigma
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_a_sensor_s_noise_makes_no_new_frame(streets, sigma):
    for seed, frame in enumerate(streets):
        assert describe(noisy(frame, sigma, seed)).same_as(describe(frame))


def test_other_scenes_are_other_frames(streets):
    first, second, third = (describe(frame) for frame in streets)
    assert not first.same_as(second)
    assert not second.same_as(third)


def test_noisy_copies_are_dropped(streets, tmp_path):
    for k in range(12):
        picture = noisy(streets[k % 3], 1 + k // 3, k)
        write_picture(tmp_path / f"{k:02}.png", picture)
    with FrameStore() as store:
        store.collect(str(tmp_path), SIZE, dry=False, count=64)
        assert (store.seen, store.repeated) == (12, 9)
        assert len(store.chosen) + len(store.held_out) == 3


def test_the_rain_feature_rises_with_the_amount_of_rain(streets):
    settings = [PRESETS[amount].scaled(SIZE.height / LINES) for amount in AMOUNTS]
    for frame in streets:
        rain = [describe(frame).rain]
        rain += [describe(render_rain(frame, x, seed=1)).rain for x in settings]
        assert rain == sorted(rain)
        assert rain[-1] > 1.5 * rain[0]


def test_stratify_covers_brightness_and_rain():
    # Nine tenths of a clip are bright and nearly dry.
    bright = [(200.0 + k / 100, 0.1 + k / 1000) for k in range(90)]
    rest = [(20.0 + k, 5.0 + k) for k in range(10)]
    empty = np.zeros((18, 32), np.float32)
    features = [Features(0, empty, b, 30.0, r) for b, r in bright + rest]
    chosen = stratify(features, 18)
    assert len(chosen) == len(set(chosen)) == 18
    assert sum(index >= 90 for index in chosen) >= 5  # evenly over time: 2
