import json
import math

import cv2
import numpy as np
import pytest
import torch

from derain.core.metrics import Score, score
from derain.models.registry import NetworkFacts
from derain.training.data import Pair
from derain.training.validation import (
    derain_with,
    dry_summary,
    in_strips,
    mean_score,
    pad,
    score_pairs,
    summary,
)


class _Shift(torch.nn.Module):
    """Adds a tenth to the first channel; says which sizes it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.1, 0.0, 0.0]))
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[2:]))
        return x + self.weight[:, None, None]


@pytest.mark.parametrize(("colour", "channel"), [("rgb", 2), ("bgr", 0)])
def test_network_gets_its_colour_order_and_gives_bgr(colour, channel):
    rainy = np.full((12, 14, 3), 100, np.uint8)
    image = derain_with(_Shift(), NetworkFacts(colour=colour))(rainy)
    wanted = rainy.copy()
    wanted[..., channel] = 126  # 100 + 25.5, rounded to even
    np.testing.assert_array_equal(image, wanted)


def test_output_is_clamped_and_rounded():
    rainy = np.full((4, 4, 3), 250, np.uint8)
    image = derain_with(_Shift(), NetworkFacts())(rainy)
    assert image.max() == 255


def test_rain_is_taken_off_where_a_network_returns_rain():
    class Rain(_Shift):
        def forward(self, x):
            return None, torch.full_like(x, 20 / 255)

    rainy = np.full((4, 4, 3), 100, np.uint8)
    facts = NetworkFacts(returns_rain=True, output_index=1)
    np.testing.assert_array_equal(derain_with(Rain(), facts)(rainy), rainy - 20)


@pytest.mark.parametrize(
    ("size", "padded"),
    [((32, 48), (32, 48)), ((33, 47), (48, 48)), ((5, 20), (16, 32))],
    ids=["fits", "reflected", "too small to reflect"],
)
def test_pictures_are_padded_to_what_the_network_takes(size, padded):
    network = _Shift()
    rainy = np.random.default_rng(0).integers(0, 200, (*size, 3), np.uint8)
    image = derain_with(network, NetworkFacts(multiple_of=16, minimum=16))(rainy)
    assert network.sizes == [padded]
    assert image.shape == rainy.shape
    np.testing.assert_array_equal(image[..., :2], rainy[..., :2])


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


def test_padding_reflects():
    x = torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 1, 6, 6)
    padded = pad(x, NetworkFacts(multiple_of=8))
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


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
