import numpy as np
import pytest
from click.testing import CliRunner

from derain.core.pictures import write_picture
from derain.core.synthetic.rain import RainSettings, render_rain
from derain.training.streak_statistics import main, streaks

GREY = np.full((480, 640, 3), 90, np.uint8)


def _rain(**changes):
    one = {"angle_spread_degrees": 0, "layers": 1, "density": 2, "blur": 0, "haze": 0}
    settings = {"angle_degrees": 0, "length_px": 40, "width_px": 2, "brightness": 0.5}
    return render_rain(GREY, RainSettings(**(one | settings | changes)))


def test_streaks_are_measured_as_they_were_drawn():
    found = streaks(_rain(angle_degrees=10))
    assert len(found) > 20
    width, length, angle, brightness = np.median(found, axis=0)
    assert width == pytest.approx(3.5, abs=1.5)
    assert length == pytest.approx(38, abs=8)
    assert angle == pytest.approx(10, abs=2)
    assert 20 < brightness < 80


def test_wider_longer_and_brighter_streaks_are_told_apart():
    first = np.median(streaks(_rain()), axis=0)
    assert np.median(streaks(_rain(width_px=4)), axis=0)[0] > first[0] + 1
    assert np.median(streaks(_rain(length_px=90)), axis=0)[1] > first[1] + 20
    assert np.median(streaks(_rain(angle_degrees=-15)), axis=0)[2] < first[2] - 10
    assert np.median(streaks(_rain(brightness=0.9)), axis=0)[3] > first[3] + 15


def test_without_rain_there_are_none():
    assert streaks(GREY).shape == (0, 4)


def test_command_compares_folders_with_the_mixture(tmp_path):
    for name, picture in (("rainy", _rain()), ("clean", GREY)):
        (tmp_path / name).mkdir()
        write_picture(tmp_path / name / "0.png", picture)
    arguments = [tmp_path / "rainy", "--rendered-on", tmp_path / "clean"]
    arguments += ["--plot", tmp_path / "plot.png"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    for text in (f"{tmp_path.name}/rainy", "rendered", "photographs, dry", "width, px"):
        assert text in result.stdout
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(main, []).exit_code == 2
