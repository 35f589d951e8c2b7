"""Where a scene was in the frame before: against motions that are known."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need derain[export]")

import torch

from derain.core.sizes import Size
from derain.core.synthetic.rain import PRESETS, rain_on_clip
from derain.core.synthetic.street import Street
from derain.models.networks.alignment import flow_to, warp

INSIDE = np.s_[..., 32:-32, 32:-32]  # what was in view before, too


@pytest.fixture(scope="module")
def scene():
    """A part of a street 480 lines high, `(320, 384, 3)` uint8."""
    return np.ascontiguousarray(Street(Size(640, 480), 5).frame(0)[100:420, 100:484])


def _tensor(frame):
    return torch.from_numpy(frame[..., 1].astype(np.float32) / 255)[None, None]


def _seen(scene, x, y):
    """The scene from a camera that has moved `x` and `y` pixels on."""
    return np.ascontiguousarray(scene[32 + y : 288 + y, 32 + x : 352 + x])


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 0), (0, -5), (-11, 4), (20, 9)])
def test_a_shift_is_found(scene, x, y):
    then, now = _tensor(_seen(scene, 0, 0)), _tensor(_seen(scene, x, y))
    flow = flow_to(now, then)
    found = flow[INSIDE].flatten(2).median(dim=2).values.squeeze()
    assert found.numpy() == pytest.approx([x, y], abs=0.25)
    apart, aligned = (
        float((now - picture)[INSIDE].square().mean())
        for picture in (then, warp(then, flow))
    )
    assert aligned <= 0.35 * apart + 1e-6


def test_rain_moves_nothing(scene):
    rainy = list(
        rain_on_clip(
            [_seen(scene, 4 * k, 0) for k in range(2)], PRESETS["moderate"], seed=1
        )
    )
    flow = flow_to(*map(_tensor, rainy[::-1]))
    found = flow[INSIDE].flatten(2).median(dim=2).values.squeeze()
    assert found.numpy() == pytest.approx([4, 0], abs=0.5)


def test_nothing_is_known_before_the_first_frame(scene):
    now = _tensor(_seen(scene, 0, 0))
    flow = flow_to(now, torch.zeros_like(now))
    assert torch.isfinite(flow).all()
    assert float(flow.abs().max()) <= 42.0 + 1e-4
    assert not warp(torch.zeros(1, 3, *now.shape[2:]), flow).any()


def test_warp_is_exact_in_whole_pixels():
    picture = torch.rand(1, 2, 16, 32)
    flow = torch.zeros(1, 2, 16, 32)
    flow[:, 0], flow[:, 1] = 3.0, -2.0
    moved = warp(picture, flow)
    torch.testing.assert_close(
        moved[:, :, 2:, :-3], picture[:, :, :-2, 3:], atol=1e-5, rtol=0
    )
    # Beyond the border is the border.
    torch.testing.assert_close(moved[:, :, 2:, -1], moved[:, :, 2:, -3])
