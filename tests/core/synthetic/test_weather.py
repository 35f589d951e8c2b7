import numpy as np
import pytest

from derain.core.synthetic.rain import RainSettings, render_rain
from derain.core.synthetic.weather import Weather, weather_on_clip

DRY = RainSettings(density=0, haze=0)


@pytest.fixture
def clean(image):
    return [image()] * 3


def _rain(clean, weather, times=(0, 1, 2), seed=0):
    return weather_on_clip(clean, times, weather, np.random.default_rng(seed))


def test_rain_falls_on_from_frame_to_frame(clean):
    # Slow and short: a streak is still there, further down, in the next frame.
    slow = RainSettings(
        angle_degrees=0,
        angle_spread_degrees=0,
        length_px=6,
        width_px=1,
        density=60,
        layers=1,
        shutter=1,
        brightness=0.9,
    )
    black = [np.zeros_like(clean[0])] * 2
    (first, second), _ = _rain(black, Weather(rain=slow), (0, 1))

    def likeness(down):
        a = first[: 40 - down, :, 0].astype(float).ravel()
        b = second[down:40, :, 0].astype(float).ravel()
        return np.corrcoef(a, b)[0, 1]

    assert max(likeness(d) for d in (5, 6, 7)) > likeness(0) + 0.2
    # Where a frame was lost, it has fallen further.
    later = _rain(black, Weather(rain=slow), (0, 2))[0][1]
    assert (later != second).any()


def test_by_day_the_truth_is_the_clip(clean):
    rainy, truth = _rain(clean, Weather(rain=RainSettings(haze=0)))
    for a, b, c in zip(rainy, truth, clean, strict=True):
        np.testing.assert_array_equal(b, c)
        assert (a >= b).all()
        assert (a > b).any()


def test_splashes_last_a_frame(clean):
    rainy, truth = _rain(clean, Weather(rain=DRY, splashes=40))
    spots = [(a != b).any(-1) for a, b in zip(rainy, truth, strict=True)]
    assert all(0.005 < spot.mean() < 0.3 for spot in spots)
    assert (spots[0] != spots[1]).any()


def test_at_night_it_is_dark_and_rain_is_seen_near_lamps(clean):
    rain = RainSettings(density=200, brightness=0.9)
    rainy, truth = _rain(clean, Weather(rain=rain, night=0.8))
    assert truth[0].mean() < 0.6 * clean[0].mean()
    assert (rainy[0] >= truth[0]).all()
    added = (rainy[0].astype(int) - truth[0]).mean((1, 2))
    by_day = np.subtract(*(x[0].astype(int) for x in _rain(clean, Weather(rain=rain))))
    assert added.mean() < by_day.mean()


def test_a_tail_makes_many_drops_faint_and_leaves_few_bright(clean):
    black = np.zeros((200, 200, 3), np.uint8)
    settings = {"density": 60, "blur": 0, "layers": 1, "brightness": 0.9, "haze": 0}
    even, tail = (
        render_rain(black, RainSettings(**settings, tail=value)) for value in (0, 3)
    )
    assert tail.max() == even.max()
    assert tail.mean() < 0.6 * even.mean()
    with pytest.raises(ValueError, match="tail is 5, wanted 0 to 4"):
        RainSettings(tail=5)
