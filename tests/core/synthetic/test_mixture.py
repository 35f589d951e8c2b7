import numpy as np
import pytest

from derain.core.errors import ConfigError
from derain.core.synthetic.camera import Camera
from derain.core.synthetic.mixture import RainMixture, read_mixture
from derain.core.synthetic.motion import Motion

DEFAULT = RainMixture.parse(read_mixture(), "the default")


def _draws(mixture, what, count=400):
    random = np.random.default_rng(0)
    return [getattr(mixture, what)(random) for _ in range(count)]


def test_default_rain_is_mostly_near_vertical_and_thin():
    rains = [weather.rain for weather in _draws(DEFAULT, "weather", 1500)]
    steep = [abs(rain.angle_degrees) < 20 for rain in rains]
    assert np.mean(steep) > 0.85
    widths = [rain.width_px for rain in rains]
    assert np.mean(np.less(widths, 2.61)) > 0.85
    assert min(widths) < 0.5
    assert max(widths) > 4
    assert any(rain.blur < 0.05 for rain in rains)
    assert any(rain.tail > 2 for rain in rains)


def test_default_has_all_that_comes_with_rain():
    weather = _draws(DEFAULT, "weather")
    for part in (
        [each.night > 0 for each in weather],
        [each.splashes > 0 for each in weather],
        [each.rain.haze > 0 for each in weather],
        *(
            [getattr(camera, name) > 0 for camera in _draws(DEFAULT, "camera")]
            for name in ("noise", "jpeg", "blocking", "exposure")
        ),
        *(
            [getattr(motion, name) != 0 for motion in _draws(DEFAULT, "motion")]
            for name in ("pan_px", "turn_degrees", "zoom", "shake_px", "confusers")
        ),
        [motion.longest_step > 1 for motion in _draws(DEFAULT, "motion")],
    ):
        assert 0 < np.mean(part) < 0.9


def test_default_pans_have_a_heavy_tail_and_a_quarter_stands_still():
    pans = [motion.pan_px for motion in _draws(DEFAULT, "motion", 2000)]
    assert np.mean(np.equal(pans, 0)) == pytest.approx(0.25, abs=0.04)
    assert np.median(pans) < 2
    assert np.quantile(pans, 0.95) > 7


def test_the_same_generator_draws_the_same():
    assert _draws(DEFAULT, "weather") == _draws(DEFAULT, "weather")


@pytest.mark.parametrize(
    ("value", "least", "most", "mean"),
    [
        (30, 30, 30, 30),
        ({"uniform": [10, 30]}, 10, 30, 20),
        ({"log_uniform": [10, 40]}, 10, 40, 30 / np.log(4)),
        ({"normal": [100, 5]}, 70, 130, 100),
        ({"normal": [1, 50]}, 1, 400, 21),  # cut at 1
    ],
)
def test_ways_to_draw(value, least, most, mean):
    mixture = RainMixture.parse({"rain": [{"length_px": value}]}, "here")
    lengths = [x.rain.length_px for x in _draws(mixture, "weather", 3000)]
    assert least <= min(lengths) <= max(lengths) <= most
    assert np.mean(lengths) == pytest.approx(mean, rel=0.1)


def test_chance_and_weight():
    tables = [
        {"weight": 3, "haze": {"chance": 0.5, "uniform": [0.1, 0.2]}},
        {"angle_degrees": 30},
    ]
    mixture = RainMixture.parse({"rain": tables}, "here")
    weather = _draws(mixture, "weather", 2000)
    slanted = [each.rain.angle_degrees == 30 for each in weather]
    hazy = [each.rain.haze >= 0.1 for each in weather]
    assert np.mean(slanted) == pytest.approx(0.25, abs=0.04)
    assert np.mean(hazy) == pytest.approx(0.375, abs=0.04)


def test_what_is_left_out_is_off():
    mixture = RainMixture.parse({"rain": [{}]}, "here")
    assert _draws(mixture, "camera", 1) == [Camera()]
    assert _draws(mixture, "motion", 1) == [Motion()]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "[[rain]]\nlenght = 3",
            "rain 1 has an unknown key 'lenght'; wanted additive, angle_de",
        ),
        ("[camera]\nnoise = 1", "has no [[rain]] tables"),
        ("[rain]\nlayers = 1", "has no [[rain]] tables"),
        ("rain = [3]", "rain 1 is 3, wanted a table"),
        ("[[rain]]\n[lens]", "an unknown key 'lens'; wanted [[rain]] tables, [camera]"),
        ("[[rain]]\nweight = 0", "rain 1: weight is 0, wanted a number above 0"),
        ("[[rain]]\nblur = 'a'", "rain 1: blur is 'a', wanted a number, or one of"),
        ("[[rain]]\nblur = { even = [0, 1] }", "blur is {'even': [0, 1]}, wanted a"),
        ("[[rain]]\nblur = { uniform = [0] }", "blur is {'uniform': [0]}, wanted a"),
        ("[[rain]]\nblur = { uniform = [1, 0] }", "within 0 and 1, the lesser"),
        ("[[rain]]\nblur = { uniform = [0, 2] }", "wanted what lies within 0 and 1"),
        ("[[rain]]\nblur = { log_uniform = [0, 1] }", "within 0 and 1 and above 0"),
        ("[[rain]]\nblur = { chance = 2, uniform = [0, 1] }", "with chance = 0.5"),
        ("[[rain]]\nblur = nan", "wanted what lies within 0 and 1"),
        ("[[rain]]\n[camera]\njpeg = 101", "camera: jpeg is 101, wanted what lies"),
        ("[[rain]]\n[motion]\npan_px = -1", "motion: pan_px is -1, wanted what lies"),
        ("[[rain", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, text, wanted):
    path = tmp_path / "rain.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_mixture(path)
    assert wanted in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_file_that_is_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        read_mixture(tmp_path / "none.toml")
