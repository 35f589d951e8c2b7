"""Whether PyTorch's pictures are a measure: repeated, finite, of the right size."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derain.core.errors import NetworkError
from derain.core.sizes import Size, SizeRange
from derain.export import reference
from derain.export.frames import verification_frames
from derain.export.reference import derain_reference
from derain.export.trial import try_network
from derain.models.loading import open_network
from derain.models.torch_reference import derain_frame


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x - 0.2 * self.conv(x)


class StateInBuffer(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        out = super().forward(x) * 0.9 + 0.1 * self.last
        self.last = out.mean().reshape(1)
        return out


class StateInAttribute(Plain):
    last = None

    def forward(self, x):
        out = super().forward(x)
        if self.last is not None:
            out = 0.8 * out + 0.2 * self.last
        self.last = x.mean()
        return out


class DropoutLeftOn(Plain):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.1))


class CachedGrid(Plain):
    """Keeps something that is always the same, as many networks do."""

    grid = None

    def forward(self, x):
        if self.grid is None or self.grid.shape[-1] != x.shape[-1]:
            self.grid = torch.linspace(0, 0.1, x.shape[-1])
        return super().forward(x) + self.grid


class Diverged(Plain):
    def forward(self, x):
        return super().forward(x) / x.new_zeros(())


class Crashes(Plain):
    def forward(self, x):
        raise AssertionError("shapes\nand more")


class Leaves(Plain):
    def forward(self, x):
        raise SystemExit(0)


@pytest.fixture
def frames():
    return verification_frames(Size(40, 32), 2)


def refused(network, frames):
    with pytest.raises(NetworkError) as caught:
        derain_reference(open_network(network()), frames, "reflect")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("network", [StateInBuffer, StateInAttribute, DropoutLeftOn])
def test_a_network_that_does_not_repeat_itself_is_refused(network):
    with pytest.raises(NetworkError) as caught:
        try_network(open_network(network()), SizeRange.parse("40x32"), None)
    text = str(caught.value)
    assert "\n" not in text
    assert f"{network.__name__} gives another picture each time" in text
    assert "a state between frames" in text
    assert "random numbers" in text


@pytest.mark.parametrize("network", [Plain, CachedGrid])
def test_a_network_that_repeats_itself_is_derained_once_more(network, frames):
    loaded = open_network(network())
    assert try_network(loaded, SizeRange.parse("40x32"), None).facts == loaded.facts
    found = derain_reference(loaded, frames, "reflect")
    assert len(found.wanted) == len(found.frames) == 2
    for frame, wanted in zip(frames, found.wanted, strict=True):
        again = derain_frame(loaded.network, loaded.facts, frame)
        np.testing.assert_array_equal(again, wanted)
    assert found.scatter().psnr_db > 60


def test_a_network_that_returns_nan_is_refused(frames):
    text = refused(Diverged, frames)
    assert "Diverged returns NaN or infinity on a frame of 40x32" in text


@pytest.mark.parametrize(
    ("network", "said"),
    [(Crashes, "AssertionError: shapes"), (Leaves, "it ends the program")],
)
def test_a_network_that_fails_is_refused_in_one_line(network, said, frames):
    text = refused(network, frames)
    assert f"running {network.__name__} on a frame of 40x32 failed" in text
    assert said in text


@pytest.mark.parametrize(("seconds", "count"), [(-math.inf, 1), (math.inf, 2)])
def test_as_many_frames_as_there_is_time_for(frames, monkeypatch, seconds, count):
    monkeypatch.setattr(reference, "_SECONDS", seconds)
    loaded = open_network(Plain())
    assert len(derain_reference(loaded, frames, "reflect").wanted) == count
    two_sizes = [frames[0], frames[1][:16]]
    assert len(derain_reference(loaded, two_sizes, "reflect").wanted) == 2
