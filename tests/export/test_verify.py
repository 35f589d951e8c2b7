"""When an exported graph counts as PyTorch's picture."""

import numpy as np
import pytest

from derain.core.errors import VerificationError
from derain.export.verify import (
    GraphComparison,
    compare,
    is_fp32,
    require_as_measured,
    require_fp16,
    require_fp32,
    require_int8,
)


def comparison(*, identical, max_levels, psnr_db=90.0):
    return GraphComparison(
        frames=1,
        max_levels=max_levels,
        mean_levels=0.0,
        identical=identical,
        psnr_db=psnr_db,
    )


def test_pixels_are_identical_when_all_three_samples_are():
    wanted = np.zeros((2, 5, 3), np.uint8)
    got = wanted.copy()
    got[0, 0, 1] = 1
    got[1, 3] = 4
    result = compare([got], [wanted])
    assert result.identical == pytest.approx(0.8)
    assert result.max_levels == 4
    assert result.mean_levels == pytest.approx(13 / 30)
    assert result.psnr_db == pytest.approx(10 * np.log10(255**2 * 30 / 49))


def test_another_shape_is_an_error():
    with pytest.raises(VerificationError, match=r"\(4, 5, 3\)"):
        compare([np.zeros((4, 5, 3), np.uint8)], [np.zeros((4, 6, 3), np.uint8)])


@pytest.mark.parametrize(
    ("identical", "max_levels", "passes"),
    [(0.9991, 1, True), (0.9989, 1, False), (0.9991, 2, False), (1.0, 0, True)],
)
def test_fp32_must_be_the_same_picture(identical, max_levels, passes):
    result = comparison(identical=identical, max_levels=max_levels)
    assert is_fp32(result) is passes
    if passes:
        require_fp32(result)
    else:
        with pytest.raises(VerificationError, match="the FP32 graph differs"):
            require_fp32(result)


@pytest.mark.parametrize(
    ("max_levels", "psnr_db", "passes"),
    [
        (2, 66.0, True),
        (4, 63.1, True),
        (2, 62.9, False),  # more than twice the energy of PyTorch's own scatter
        (5, 66.0, False),  # farther off than it explains
    ],
)
def test_a_graph_that_scatters_no_more_than_pytorch_passes(max_levels, psnr_db, passes):
    result = comparison(identical=0.997, max_levels=max_levels, psnr_db=psnr_db)
    scatter = comparison(identical=0.998, max_levels=2, psnr_db=66.0)
    if passes:
        require_fp32(result, None, scatter)
    else:
        with pytest.raises(VerificationError, match="with other kernels comes to"):
            require_fp32(result, None, scatter)


def test_a_network_that_scatters_everywhere_by_one_level_passes():
    # DRSformer: a third of the pixels, and nothing is off by more than a level.
    result = comparison(identical=0.684, max_levels=1, psnr_db=54.5)
    require_fp32(result, None, comparison(identical=0.826, max_levels=1, psnr_db=57.0))


@pytest.mark.parametrize(
    ("identical", "max_levels", "psnr_db"),
    [(0.00065, 22, 30.9), (0.00232, 24, 30.0), (0.4, 6, 47.9)],
)
def test_no_scatter_explains_another_picture(identical, max_levels, psnr_db):
    result = comparison(identical=identical, max_levels=max_levels, psnr_db=psnr_db)
    with pytest.raises(VerificationError, match="the FP32 graph differs"):
        require_fp32(result, None, result)


def test_few_pixels_of_a_flip_pass_although_pytorch_scatters_less():
    result = comparison(identical=0.99988, max_levels=3)
    scatter = comparison(identical=0.99994, max_levels=1, psnr_db=95.0)
    require_fp32(result, None, scatter)


@pytest.mark.parametrize(("identical", "max_levels"), [(0.998, 1), (0.9999, 2)])
def test_pytorch_without_scatter_explains_nothing(identical, max_levels):
    result = comparison(identical=identical, max_levels=max_levels)
    with pytest.raises(VerificationError):
        require_fp32(result, None, comparison(identical=1.0, max_levels=0))


def test_the_users_tolerance_replaces_ours():
    far = comparison(identical=0.5, max_levels=9, psnr_db=41)
    require_fp32(far, 40)
    with pytest.raises(VerificationError, match=r"41\.0 dB from PyTorch, wanted 42"):
        require_fp32(far, 42)
    with pytest.raises(VerificationError, match="wanted 50"):
        require_fp16(far)


def test_an_int8_file_may_cost_a_little_more_than_was_measured():
    require_as_measured(comparison(identical=0.5, max_levels=3, psnr_db=53.5), 59.4)


def test_an_int8_file_that_is_far_from_what_was_measured_is_an_error():
    """What ONNX Runtime made of FP16 scales: 33.2 dB where 59.4 were measured."""
    wrong = comparison(identical=0.0, max_levels=13, psnr_db=33.2)
    with pytest.raises(VerificationError, match=r"59\.4 dB from FP32 .* 33\.2 dB from"):
        require_as_measured(wrong, 59.4)


@pytest.mark.parametrize("require", [require_fp32, require_fp16, require_int8])
def test_a_tolerance_of_zero_takes_anything(require):
    far = comparison(identical=0.0, max_levels=255, psnr_db=3.0)
    require(far, 0.0)
    with pytest.raises(VerificationError):
        require(far)
