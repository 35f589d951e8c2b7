import math

import numpy as np
import pytest

from derain.core.psnr import psnr_db


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
