"""What a camera does to a rainy clip and to its truth."""

import numpy as np
import pytest

from derain.core.metrics import psnr_db
from derain.core.synthetic.camera import BLOCK, Camera, in_blocks, record


@pytest.fixture
def clip(image):
    return [image(shift=k) for k in range(4)]


def _recorded(clips, **camera):
    return record(clips, Camera(**camera), np.random.default_rng(0))


def test_camera_without_faults_changes_nothing(clip):
    (same,) = _recorded([clip])
    assert all(a is b for a, b in zip(same, clip, strict=True))


@pytest.mark.parametrize(
    ("camera", "least", "most"),
    [
        ({"noise": 3}, 36, 41),  # 38.6 dB
        ({"jpeg": 60}, 28, 45),
        ({"blocking": 12}, 28, 55),
        ({"exposure": 0.05}, 15, 45),
    ],
)
def test_every_fault_is_seen_and_is_the_same_in_the_truth(clip, camera, least, most):
    rainy, truth = _recorded([clip, clip], **camera)
    for a, b in zip(rainy, truth, strict=True):
        np.testing.assert_array_equal(a, b)
    assert least < psnr_db(truth[2], clip[2]) < most


def test_noise_is_another_in_every_frame(image):
    (frames,) = _recorded([[image()] * 3], noise=3)
    assert (frames[0] != frames[1]).any()


def test_blocks_stand_still_where_little_changes():
    still = np.full((48, 64, 3), 120, np.uint8)
    nearly = still.copy()
    nearly[20:22, 30:32] += 3
    first, second = in_blocks([still, nearly], 30)
    np.testing.assert_array_equal(first, second)


def test_a_fine_quantiser_keeps_the_picture_of_any_size():
    picture = np.random.default_rng(0).integers(0, 256, (21, 35, 3), np.uint8)
    for seen in in_blocks([picture, picture[::-1]], 0.01):
        assert seen.shape == picture.shape
    np.testing.assert_array_equal(in_blocks([picture], 0.01)[0], picture)


def test_a_coarse_quantiser_leaves_blocks_of_one_level():
    picture = np.random.default_rng(0).integers(120, 130, (16, 16, 3), np.uint8)
    (seen,) = in_blocks([picture], 60)
    assert len(np.unique(seen[:BLOCK, :BLOCK, 0])) == 1
