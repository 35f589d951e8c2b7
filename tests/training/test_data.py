import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.core.pairs import Pair
from derain.core.synthetic.mixture import RainMixture
from derain.training import data
from derain.training.config import Mixture
from derain.training.data import CropSource, dry

HEAVY = {
    "angle_degrees": {"uniform": [-9, 9]},
    "density": 300,
    "brightness": 0.9,
    "width_px": 2,
}
RAIN = RainMixture.parse({"rain": [HEAVY]}, "here")


def _numbered(height=30, width=44):
    """A pair whose pixels tell where they come from, and rain that is +100."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    clean = np.stack([y, x, np.zeros_like(x)], axis=-1)
    rainy = clean.copy()
    rainy[..., 2] = 100
    return Pair("numbered", rainy, clean)


def _source(pairs, clean=(), **changes):
    settings = {
        "crop": 16,
        "batch": 6,
        "seed": 3,
        "mixture": Mixture(dry=0, rendered=0),
        "rain": RAIN,
    }
    return CropSource([pairs], clean, **(settings | changes))


def test_crops_of_a_pair_come_from_one_place_and_are_flipped_alike():
    seen = set()
    for step in range(20):
        rainy, clean = _source([_numbered()]).batch(step)
        assert rainy.shape == clean.shape == (6, 16, 16, 3)
        np.testing.assert_array_equal(rainy[..., :2], clean[..., :2])
        assert (rainy[..., 2] == 100).all()
        for crop in clean:
            down, right = (
                np.diff(crop[:, 0, 0].astype(int)),
                np.diff(crop[0, :, 1].astype(int)),
            )
            assert set(down) <= {1, -1}
            assert len(set(down)) == len(set(right)) == 1
            seen.add((int(down[0]), int(right[0])))
    assert seen == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


def _directions(crops, channel):
    """How the numbers in `channel` of each crop change, down and to the right."""
    crops = crops[..., channel].astype(int)
    down, right = crops[:, 1, 0] - crops[:, 0, 0], crops[:, 0, 1] - crops[:, 0, 0]
    return {(int(a), int(b)) for a, b in zip(down, right, strict=True)}


@pytest.mark.parametrize("vertical_flips", [True, False])
def test_photographs_are_turned_and_pairs_are_not(vertical_flips):
    pair = _numbered()
    upright = {(1, 0), (-1, 0)} if vertical_flips else {(1, 0)}
    turned = {(1, 0), (-1, 0), (0, 1), (0, -1)}  # where the next row of a picture is
    changes = {"batch": 100, "vertical_flips": vertical_flips}
    of_pairs = _source([pair], **changes).batch(0)[1]
    of_photographs = _source([], [pair.clean], **changes).batch(0)[1]
    assert _directions(of_pairs, 0) == upright
    assert _directions(of_photographs, 0) == turned


def test_photographs_are_turned_before_it_rains_on_them(monkeypatch):
    def rain_downwards(clean, rain, random):
        rainy = clean.copy()
        rainy[:, 3, 2] = 200
        return rainy, clean

    monkeypatch.setattr(data, "rained_on", rain_downwards)
    rainy, clean = _source([], [_numbered().clean], batch=40).batch(0)
    assert len(_directions(clean, 0)) == 4
    assert (rainy[:, :, 3, 2] == 200).all()
    assert (rainy[..., 2] > 0).sum() == 40 * 16


def test_crops_reach_every_border():
    clean = np.concatenate([_source([_numbered()]).batch(k)[1] for k in range(60)])
    assert clean[..., 0].min() == 0
    assert clean[..., 0].max() == 29
    assert clean[..., 1].min() == 0
    assert clean[..., 1].max() == 43


def test_without_vertical_flips_up_stays_up():
    source = _source([_numbered()], vertical_flips=False)
    for step in range(10):
        clean = source.batch(step)[1].astype(int)
        assert (np.diff(clean[..., 0], axis=1) == 1).all()


def test_a_batch_depends_on_the_seed_and_its_number_alone():
    mixture = Mixture(dry=0.2, rendered=0.4)
    pair = _numbered()
    first = _source([pair], [pair.clean], mixture=mixture)
    second = _source([pair], [pair.clean], mixture=mixture)
    first.batch(0)
    for a, b in zip(first.batch(7), second.batch(7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.batch(7)[1] != first.batch(8)[1]).any()
    other = _source([pair], [pair.clean], mixture=mixture, seed=4)
    assert (first.batch(7)[1] != other.batch(7)[1]).any()


def test_mixture_is_kept():
    pair = _numbered(64, 64)
    source = _source(
        [pair], [pair.clean], batch=400, mixture=Mixture(dry=0.25, rendered=0.25)
    )
    rainy, clean = source.batch(0)
    is_dry = (rainy == clean).all(axis=(1, 2, 3))
    is_pair = (rainy[..., 2] == 100).all(axis=(1, 2))
    # Three standard deviations of 400 draws; rendered rain may miss a small crop.
    assert abs(is_pair.mean() - 0.5) < 0.075
    assert 0.18 < is_dry.mean() < 0.45


def test_without_photographs_all_rain_is_that_of_the_pairs():
    source = _source([_numbered()], mixture=Mixture(dry=0.5, rendered=0.5), batch=40)
    rainy, _ = source.batch(0)
    assert set(np.unique(rainy[..., 2])) == {0, 100}


def test_sets_of_pairs_give_as_many_crops_each():
    dark, bright = (np.full((16, 16, 3), level, np.uint8) for level in (20, 200))
    sets = [[Pair("dark", dark, dark)], [Pair("bright", bright, bright)] * 9, []]
    mixture = Mixture(rendered=0, dry=0)
    source = CropSource(
        sets, [], crop=16, batch=400, mixture=mixture, rain=RAIN, seed=1
    )
    of_dark = np.count_nonzero(source.batch(0)[0][:, 0, 0, 0] == 20)
    assert 150 < of_dark < 250  # 200 +- 10


def test_without_pairs_rain_is_rendered():
    clean = _numbered().clean
    source = _source([], [clean], mixture=Mixture(dry=0.0, rendered=0.1), batch=20)
    rainy, clean = source.batch(0)
    assert (rainy >= clean).all()
    assert (rainy != clean).any()


def test_nothing_to_train_on():
    with pytest.raises(MediaError, match="no pictures to train on"):
        _source([])


def test_picture_smaller_than_a_crop():
    with pytest.raises(MediaError, match="44x30 is smaller than a crop of 32"):
        _source([_numbered()], crop=32)


@pytest.mark.parametrize("parts", [(0.6, 0.5), (-0.1, 0.5), (float("nan"), 0)])
def test_mixture_rejects(parts):
    with pytest.raises(ValueError, match="parts"):
        Mixture(rendered=parts[0], dry=parts[1])


def test_dry_pairs_have_no_rain(pairs):
    assert all(pair.rainy is pair.clean for pair in dry(pairs))
