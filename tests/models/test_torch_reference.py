"""The frame contract in PyTorch, against the same in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from derain.core import frame_tensors
from derain.core.errors import NetworkError
from derain.core.sizes import Size
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import (
    derain_frame,
    device_of,
    to_frame,
    to_picture,
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
    image = derain_frame(_Shift(), NetworkFacts(colour=colour), rainy)
    wanted = rainy.copy()
    wanted[..., channel] = 126  # 100 + 25.5, rounded to even
    np.testing.assert_array_equal(image, wanted)


def test_output_is_clamped_and_rounded():
    rainy = np.full((4, 4, 3), 250, np.uint8)
    image = derain_frame(_Shift(), NetworkFacts(), rainy)
    assert image.max() == 255


def test_rain_is_taken_off_where_a_network_returns_rain():
    class Rain(_Shift):
        def forward(self, x):
            return None, torch.full_like(x, 20 / 255)

    rainy = np.full((4, 4, 3), 100, np.uint8)
    facts = NetworkFacts(returns_rain=True, output_index=1)
    np.testing.assert_array_equal(derain_frame(Rain(), facts, rainy), rainy - 20)


@pytest.mark.parametrize(
    ("size", "padded"),
    [((32, 48), (32, 48)), ((33, 47), (48, 48)), ((5, 20), (16, 32))],
    ids=["fits", "reflected", "too small to reflect"],
)
def test_pictures_are_padded_to_what_the_network_takes(size, padded):
    network = _Shift()
    rainy = np.random.default_rng(0).integers(0, 200, (*size, 3), np.uint8)
    image = derain_frame(network, NetworkFacts(multiple_of=16, minimum=16), rainy)
    assert network.sizes == [padded]
    assert image.shape == rainy.shape
    np.testing.assert_array_equal(image[..., :2], rainy[..., :2])


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize(
    "size", [(48, 32), (33, 47), (20, 5)], ids=["fits", "reflected", "edge"]
)
def test_pytorch_and_numpy_make_the_same_of_a_frame(size, colour):
    facts = NetworkFacts(colour=colour, multiple_of=16, minimum=40)
    width, height = size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    picture = to_picture(torch.from_numpy(frame), facts)
    wanted = frame_tensors.to_tensor(frame, facts)
    np.testing.assert_allclose(picture.numpy(), wanted, rtol=0, atol=1e-7)
    back = to_frame(picture * 1.02 - 0.01, Size(*size), facts).numpy()
    wanted = frame_tensors.to_frame(wanted * 1.02 - 0.01, Size(*size), facts)
    np.testing.assert_array_equal(back, wanted)


def test_padding_can_be_by_the_edge_where_reflection_would_fit():
    frame = torch.arange(6, dtype=torch.uint8).reshape(1, 6, 1).expand(6, 6, 3)
    facts = NetworkFacts(multiple_of=8)
    rows = [to_picture(frame, facts, mode=m)[0, 0, 0] for m in (None, "edge")]
    assert (rows[0] * 255).round().tolist() == [0, 1, 2, 3, 4, 5, 4, 3]
    assert (rows[1] * 255).round().tolist() == [0, 1, 2, 3, 4, 5, 5, 5]


def test_a_network_that_returns_another_size_is_refused():
    frame = np.zeros((8, 10, 3), np.uint8)
    with pytest.raises(NetworkError, match=r"returns \(1, 3, 4, 5\), wanted a picture"):
        derain_frame(nn.AvgPool2d(2), NetworkFacts(), frame)


def test_a_network_without_parameters_is_on_the_processor():
    assert device_of(nn.Identity()) == torch.device("cpu")
    assert device_of(nn.BatchNorm2d(3, affine=False).to("meta")).type == "meta"
    frame = np.full((8, 10, 3), 7, np.uint8)
    np.testing.assert_array_equal(
        derain_frame(nn.Identity(), NetworkFacts(), frame), frame
    )
