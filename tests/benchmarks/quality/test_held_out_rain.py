"""Rain that nobody trains on: seeded, another recipe, and a command to measure on."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from derain.benchmarks.quality.evaluate import evaluate
from derain.core.pictures import read_picture, write_picture
from derain.core.sizes import Size
from derain.core.synthetic.street import Street
from support import held_out_rain
from support.held_out_rain import KINDS, add_held_out_rain, main, rain_mask

SIZE = Size(96, 64)


@pytest.fixture
def clean(tmp_path):
    """A folder with two clean clips of three frames."""
    for index, name in enumerate(("a", "b")):
        (tmp_path / "clean" / name).mkdir(parents=True)
        street = Street(SIZE, index)
        for k in range(3):
            path = tmp_path / "clean" / name / f"{k}.png"
            write_picture(path, street.frame(k))
    return tmp_path / "clean"


def test_the_same_seed_and_frame_give_the_same_rain():
    masks = [
        rain_mask(SIZE, KINDS["heavy"], seed, frame)
        for seed, frame in ((1, 2), (1, 2), (1, 3), (2, 2))
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert all((masks[0] != other).mean() > 0.1 for other in masks[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_rain_is_bright_streaks_that_stand_upright(kind):
    size = Size(320, 240)
    mask = rain_mask(size, KINDS[kind], 0)
    assert mask.shape == (240, 320)
    assert mask.min() >= 0
    assert 0.3 < mask.max() <= 1
    # Many faint and few bright ones.
    assert np.median(mask) < 0.5 * np.quantile(mask, 0.98)
    # A streak goes on downwards more than sideways.
    across, along = (np.abs(np.diff(mask, axis=axis)).mean() for axis in (1, 0))
    assert across > 1.3 * along
    picture = np.full((240, 320, 3), 60, np.uint8)
    assert (add_held_out_rain(picture, KINDS[kind], 0) >= picture).all()


def test_heavier_rain_takes_more_light():
    means = [rain_mask(Size(320, 240), KINDS[kind], 0).mean() for kind in KINDS]
    assert means == sorted(means)


def test_nothing_of_the_training_rain_is_in_it():
    code = "import sys, runpy; runpy.run_path(sys.argv[1])\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, held_out_rain.__file__],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "derain.core.synthetic.rain" not in done.stdout.split()


def test_the_command_writes_clips_that_derain_eval_takes(clean, tmp_path):
    target = tmp_path / "held-out"
    done = CliRunner().invoke(main, [str(clean), str(target), "--kind", "heavy"])
    assert done.exit_code == 0, done.output
    frame = read_picture(target / "b" / "clean" / "2.png")
    np.testing.assert_array_equal(frame, read_picture(clean / "b" / "2.png"))

    from torch import nn

    figures = evaluate(nn.Identity(), clips=target).figures()["Identity"]
    assert (figures["clips"], figures["frames"]) == (2, 6)
    assert 12 < figures["psnr_db"] < 30

    again = CliRunner().invoke(main, [str(clean), str(target)])
    assert again.exit_code == 1  # what is there is not replaced
    assert "exists" in again.output


def test_a_clips_rain_does_not_depend_on_the_others(clean, tmp_path):
    for source, target in ((clean, "all"), (clean / "b", "one")):
        assert (
            not CliRunner()
            .invoke(main, [str(source), str(tmp_path / target)])
            .exit_code
        )
    one, other = (
        read_picture(tmp_path / folder / "b" / "rain" / "1.png")
        for folder in ("all", "one")
    )
    np.testing.assert_array_equal(one, other)
