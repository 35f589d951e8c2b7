from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from derain.core.errors import ShapeError
from derain.core.sizes import Size
from derain.core.synthetic.rain import (
    PRESETS,
    RANGES,
    RainField,
    RainSettings,
    add_rain,
    rain_on_clip,
    rainy_clip,
    render_rain,
)
from derain.core.synthetic.street import Street

SIZE = Size(160, 120)
ONE_LAYER = RainSettings(
    angle_degrees=0,
    angle_spread_degrees=0,
    length_px=24,
    width_px=1.5,
    density=12,
    layers=1,
    shutter=1.0,
    haze=0.0,
)


@pytest.fixture
def clean():
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def test_the_same_seed_renders_the_same_rain(clean):
    first, again = (render_rain(clean, seed=4, frame=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (render_rain(clean, seed=5, frame=3) != first).any()


def test_streaks_never_darken_and_the_input_is_left_alone(clean):
    before = clean.copy()
    rainy = render_rain(clean, replace(PRESETS["heavy"], haze=0.0), seed=1)
    np.testing.assert_array_equal(clean, before)
    assert rainy.dtype == np.uint8
    assert rainy.shape == clean.shape
    assert (rainy >= clean).all()
    assert (rainy != clean).any()


def test_presets_are_in_order():
    means = [
        RainField(SIZE, settings, seed=0).opacity().mean()
        for settings in PRESETS.values()
    ]
    assert list(PRESETS) == ["light", "moderate", "heavy", "downpour"]
    assert means == sorted(means)
    assert means[0] > 0


@pytest.mark.parametrize("name", PRESETS)
def test_opacity_is_a_part(name):
    opacity = RainField(SIZE, PRESETS[name], seed=0).opacity(frame=9)
    assert opacity.dtype == np.float32
    assert opacity.shape == (120, 160)
    assert opacity.min() >= 0.0
    assert opacity.max() <= 1.0


def test_no_drops_and_no_veil_is_the_picture_itself(clean):
    settings = RainSettings(density=0, haze=0)
    np.testing.assert_array_equal(render_rain(clean, settings), clean)


def test_veil_pulls_towards_the_sky(clean):
    veiled = render_rain(clean, RainSettings(density=0, haze=0.5)).astype(float)
    np.testing.assert_allclose(veiled, (clean + 200.0) / 2, atol=0.5)


def _best_shift(before, after, axis):
    """By how many pixels `before` must move along `axis` to look like `after`."""
    shifts = range(-40, 41)
    likeness = [float((np.roll(before, k, axis) * after).sum()) for k in shifts]
    return shifts[int(np.argmax(likeness))]


def test_streaks_fall_by_their_length_over_the_shutter():
    field = RainField(Size(300, 300), ONE_LAYER, seed=2)
    fall = _best_shift(field.opacity(5), field.opacity(6), axis=0)
    # Speeds differ between drops by a quarter of what their lengths do: 30 %.
    assert fall == pytest.approx(24, abs=4)


@pytest.mark.parametrize("angle", [-30, 30])
def test_wind_moves_streaks_sideways(angle):
    settings = replace(ONE_LAYER, angle_degrees=angle)
    field = RainField(Size(300, 300), settings, seed=2)
    before, after = field.opacity(5), np.roll(field.opacity(6), -21, axis=0)
    drift = _best_shift(before, after, axis=1)
    assert np.sign(drift) == np.sign(angle)


def test_rain_reaches_every_corner_and_does_not_run_out():
    settings = replace(PRESETS["heavy"], angle_degrees=35)
    field = RainField(Size(90, 70), settings, seed=0)
    total = sum(field.opacity(frame) for frame in range(1000, 1060))
    corners = (total[:9, :9], total[:9, -9:], total[-9:, :9], total[-9:, -9:])
    means = [float(corner.mean()) for corner in corners]
    assert min(means) > 0.3 * float(total.mean())


def test_longer_blur_fades_the_ends():
    sharp, soft = (
        RainField(SIZE, replace(ONE_LAYER, blur=blur), seed=1).opacity()
        for blur in (0.0, 0.9)
    )
    assert soft.max() <= sharp.max()
    assert np.abs(np.diff(soft, axis=0)).max() < np.abs(np.diff(sharp, axis=0)).max()


def test_scaled_rain_covers_as_much():
    small = RainField(Size(120, 90), PRESETS["heavy"].scaled(0.5), seed=0).opacity()
    large = RainField(Size(480, 360), PRESETS["heavy"].scaled(2.0), seed=0).opacity()
    assert small.mean() == pytest.approx(large.mean(), rel=0.5)


def test_scaling_stays_within_the_ranges():
    PRESETS["downpour"].scaled(1e-3)
    PRESETS["downpour"].scaled(1e3)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])
def test_settings_reject_what_is_out_of_range(name, side):
    wrong = RANGES[name][side] + (-1, 1)[side]
    with pytest.raises(ValueError, match=f"{name} is "):
        replace(RainSettings(), **{name: wrong})


def test_settings_reject_nan():
    with pytest.raises(ValueError, match="haze is nan"):
        RainSettings(haze=float("nan"))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
    ids=["grey", "float"],
)
def test_render_rejects(array):
    with pytest.raises(ShapeError, match="wanted \\(H, W, 3\\) uint8 BGR"):
        render_rain(array)


def test_clip_is_one_rain_through_all_frames(clean):
    settings = PRESETS["moderate"]
    frames = list(rain_on_clip([clean] * 3, settings, seed=7))
    for index, frame in enumerate(frames):
        wanted = render_rain(clean, settings, seed=7, frame=index)
        np.testing.assert_array_equal(frame, wanted)


def test_clip_of_two_sizes_is_rejected(clean):
    with pytest.raises(ShapeError, match="frame 1 is 160x60, the others are 160x120"):
        list(rain_on_clip([clean, clean[:60]]))


def test_add_rain_by_hand():
    clean = np.full((1, 2, 3), 55, np.uint8)
    rainy = add_rain(clean, np.array([[0.0, 0.5]], np.float32), haze=0.0)
    assert rainy[0, :, 0].tolist() == [55, 155]


def test_rainy_clip_gives_pairs_and_moves():
    frames = list(rainy_clip(SIZE, 3, seed=1))
    assert len(frames) == 3
    for rainy, clean in frames:
        assert rainy.shape == clean.shape == (120, 160, 3)
        assert rainy.dtype == clean.dtype == np.uint8
        assert (rainy != clean).mean() > 0.2
    assert (frames[0][1] != frames[1][1]).any()


def test_rainy_clip_is_the_same_for_the_same_seed():
    first, again = (list(rainy_clip(SIZE, 2, seed=3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    (other, _), *_ = rainy_clip(SIZE, 1, seed=4)
    assert (other != first[0][0]).any()


def test_street_pans_without_jumps():
    street = Street(SIZE, seed=0)
    steps = [
        np.abs(street.frame(k + 1).astype(int) - street.frame(k)).mean()
        for k in (0, 1, 2, 400, 5000)  # the strips close on themselves
    ]
    assert max(steps) < 3 * min(steps)


@pytest.mark.parametrize(
    "size", [Size(1, 1), Size(8, 8), Size(320, 16), Size(16, 320)], ids=str
)
def test_rainy_clip_of_any_size(size):
    rainy, clean = next(islice(rainy_clip(size, 2), 1, None))
    assert rainy.shape == clean.shape == (size.height, size.width, 3)
