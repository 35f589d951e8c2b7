import json
import math

import cv2
import numpy as np
import pytest

from derain.core.metrics import Score, score
from derain.core.pairs import Pair
from derain.training.validation import (
    dry_summary,
    in_strips,
    mean_score,
    score_pairs,
    summary,
)


@pytest.mark.parametrize("height", [90, 100, 101, 163])
def test_strips_are_not_noticed_by_a_network_that_sees_no_further(height):
    kernel = np.ones((9, 9), np.float32) / 81  # sees 4 rows up and down
    sizes = []

    def blur(image):
        sizes.append(image.shape[0])
        return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_CONSTANT)

    rainy = np.random.default_rng(0).integers(0, 256, (height, 40, 3), np.uint8)
    wanted = blur(rainy)
    got = in_strips(blur, most_pixels=40 * 30, overlap=4)(rainy)
    np.testing.assert_array_equal(got, wanted)
    assert len(sizes) > 3
    assert max(sizes[1:]) <= 30


def test_small_pictures_are_not_cut():
    rainy = np.zeros((30, 40, 3), np.uint8)
    assert in_strips(lambda image: image, most_pixels=1200)(rainy) is rainy


def test_score_pairs_keeps_images_and_scores(pairs):
    results = score_pairs(lambda rainy: rainy // 2 * 2, pairs, keep=1)
    assert [result.name for result in results] == ["0", "1", "2", "3"]
    assert results[0].rainy == score(pairs[0].rainy, pairs[0].clean)
    assert results[0].score == score(pairs[0].rainy // 2 * 2, pairs[0].clean)
    np.testing.assert_array_equal(results[0].image, pairs[0].rainy // 2 * 2)
    assert results[1].image is None


def test_mean_score_is_a_mean_over_pictures():
    assert mean_score([Score(20.0, 0.5), Score(30.0, 0.7)]) == (
        pytest.approx(25.0),
        pytest.approx(0.6),
    )


def test_summaries_are_json_even_of_equal_pictures(pairs):
    same = [Pair(pair.name, pair.clean, pair.clean) for pair in pairs]
    results = score_pairs(lambda rainy: rainy, same)
    assert math.isinf(results[0].score.psnr_db)
    figures = json.loads(json.dumps([summary(results), dry_summary(results)]))
    assert figures[0]["psnr_db"] is None
    assert figures[1] == {"pictures": 4, "mean_psnr_db": None, "least_psnr_db": None}
