import math
from itertools import islice

import numpy as np
import pytest

from derain.core.errors import ShapeError
from derain.core.metrics import luma, mse_of_psnr, psnr_db, psnr_of_mse, score
from derain.core.pairs import open_pairs


def _pictures():
    y, x = np.mgrid[:40, :56]
    clean = np.stack(
        [(x * 5 + y * 3) % 256, (x * 2 + y * 7) % 200, (y * 6) % 180 + 20], axis=-1
    )
    wave = ((x * 7 + y * 13) % 31 - 15)[..., None] * np.array([1, -1, 2])
    return np.clip(clean + wave, 0, 255).astype(np.uint8), clean.astype(np.uint8)


def test_score_is_the_stored_reference():
    # scikit-image 0.26 on these pictures: peak_signal_noise_ratio(data_range=255) and
    # structural_similarity(gaussian_weights=True, sigma=1.5,
    # use_sample_covariance=False, data_range=255) of Y in float64.
    got = score(*_pictures())
    assert got.psnr_db == pytest.approx(47.55771701363831, abs=1e-9)
    assert got.ssim == pytest.approx(0.9966867813328443, abs=1e-9)


def test_luma_is_that_of_rgb2ycbcr():
    bgr = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]], np.uint8)
    # The blue, then the red of MATLAB: 16 + 24.966 and 16 + 65.481.
    np.testing.assert_allclose(luma(bgr), [[16, 235, 40.966, 81.481]], atol=1e-9)


def test_score_of_equal_pictures():
    image, _ = _pictures()
    assert score(image, image) == (math.inf, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("a", "b"),
    [((20, 20, 3), (20, 21, 3)), ((10, 20, 3), (10, 20, 3)), ((20, 20), (20, 20))],
    ids=["sizes", "smaller than the window", "no colours"],
)
def test_score_rejects(a, b):
    with pytest.raises(ShapeError, match="picture"):
        score(np.zeros(a, np.uint8), np.zeros(b, np.uint8))


def test_psnr_of_equal_pictures_is_infinite():
    assert (
        psnr_db(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8))
        == math.inf
    )


@pytest.mark.parametrize(("level", "wanted"), [(255, 0.0), (1, 48.1308), (16, 24.0484)])
def test_psnr_of_a_constant_difference(level, wanted):
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr_db(black, black + np.uint8(level)) == pytest.approx(wanted, abs=1e-4)
    assert psnr_db(black + np.uint8(level), black) == pytest.approx(wanted, abs=1e-4)


def test_psnr_and_mean_squared_error_are_each_others():
    assert psnr_of_mse(1.0) == pytest.approx(48.1308, abs=1e-4)
    assert mse_of_psnr(psnr_of_mse(0.37)) == pytest.approx(0.37)
    assert psnr_of_mse(0.0) == math.inf
    assert psnr_of_mse(0.0, most=120.0) == psnr_of_mse(1e-9, most=120.0) == 120.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "every", "psnr_db", "ssim"),
    [("pairs/test", 1, 22.57, 0.6892), ("video/a1", 4, 29.65, 0.9149)],
    ids=["pairs/test", "every fourth frame of video/a1"],
)
def test_rainy_input_scores_what_the_data_sheet_says(
    shared_data, folder, every, psnr_db, ssim
):
    pairs = islice(open_pairs(shared_data / folder), 0, None, every)
    scores = [score(pair.rainy, pair.clean) for pair in pairs]
    mean = np.mean(scores, axis=0)
    assert mean[0] == pytest.approx(psnr_db, abs=0.005)
    assert mean[1] == pytest.approx(ssim, abs=0.00005)
