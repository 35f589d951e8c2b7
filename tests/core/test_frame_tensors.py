"""Frames to tensors and back with NumPy."""

import numpy as np
import pytest

from derain.core.frame_contract import FrameContract, Padding
from derain.core.frame_tensors import mirror_to, pad, to_frame, to_tensor
from derain.core.sizes import Size


def test_padding_by_reflection_and_by_the_edge():
    frame = np.arange(3, dtype=np.uint8).reshape(1, 3, 1).repeat(3, axis=2)
    grown = pad(frame, Padding(2, 0, "reflect"))[0, :, 0]
    assert grown.tolist() == [0, 1, 2, 1, 0]
    grown = pad(frame, Padding(2, 1, "edge"))
    assert grown[:, :, 1].tolist() == [[0, 1, 2, 2, 2]] * 2


def test_mirrored_as_often_as_it_takes():
    frame = np.arange(3, dtype=np.uint8).reshape(1, 3, 1).repeat(3, axis=2)
    grown = mirror_to(frame, Size(8, 2))
    assert grown[:, :, 1].tolist() == [[0, 1, 2, 1, 0, 1, 2, 1]] * 2
    assert np.array_equal(mirror_to(frame, Size(3, 1)), frame)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_frames_come_back_as_they_were(colour):
    contract = FrameContract(colour=colour, multiple_of=8)
    frame = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    tensor = to_tensor(frame, contract)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == np.float32
    red = frame[..., 2].astype(np.float32) / 255
    np.testing.assert_allclose(
        tensor[0, 0 if colour == "rgb" else 2, :11, :13], red, atol=1e-7
    )
    assert np.array_equal(to_frame(tensor, Size(13, 11), contract), frame)


def test_what_a_network_overshoots_is_clipped_and_the_rest_rounded():
    levels = np.array([-3.0, 0.4, 0.6, 254.6, 300.0, 1e9], np.float32)
    picture = np.broadcast_to((levels / 255)[None, None, None], (1, 3, 1, 6))
    frame = to_frame(picture, Size(6, 1), FrameContract())
    assert frame[0, :, 0].tolist() == [0, 0, 1, 255, 255, 255]
