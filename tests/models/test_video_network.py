"""What networks with a memory say, take and return, and every way in which they err."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need derain[export]")

import torch
from torch import nn

from derain.core.errors import NetworkError
from derain.core.sizes import Size, SizeRange
from derain.core.states import FRAME_SHAPE
from derain.models.loading import open_network
from derain.models.registry import NetworkFacts
from derain.models.video_network import has_states, open_video
from derain.models.video_stream import VideoStream
from support.video_networks import (
    EdvrLike,
    FastDvdNetLike,
    RlspLike,
    RvmLike,
    S2vdLike,
    ThreeArguments,
    lively,
)

PLAIN = NetworkFacts()
BY_16 = NetworkFacts(multiple_of=16)


def opened(network, facts=PLAIN, window=1, look_ahead=0):
    return open_video(network, facts, window=window, look_ahead=look_ahead, inputs={})


class Hidden(nn.Module):
    """The mean of what it has seen, in one state."""

    def __init__(self, shapes=None):
        super().__init__()
        self._shapes = shapes

    def states(self, height, width):
        return self._shapes or [(1, 3, height, width)]

    def forward(self, x, mean):
        return 0.5 * (x + mean), mean + 0.1 * (x - mean)


@pytest.mark.parametrize(
    ("network", "window", "layout"),
    [
        (FastDvdNetLike, 5, "(N, T*3, H, W)"),
        (S2vdLike, 5, "(N, 3, T, H, W)"),
        (EdvrLike, 5, "(N, T, 3, H, W)"),
        (ThreeArguments, 3, "T arguments (N, 3, H, W)"),
    ],
)
def test_a_window_is_given_as_the_network_takes_it(network, window, layout, said):
    video = opened(lively(network()), NetworkFacts(multiple_of=2), window, 1)
    assert video.layout == layout
    assert said() == [
        f"{network.__name__} takes a window of {window} frames as {layout}"
    ]
    states = video.specs(SizeRange.parse("32x32,48x48,64x64"))
    assert [state.name for state in states] == [f"state_{k}" for k in range(window - 1)]
    assert {(s.shape, s.dtype, s.start) for s in states} == {
        (FRAME_SHAPE, "uint8", "frame")
    }


def test_a_window_of_three_that_may_be_read_in_two_ways_is_said(said):
    assert opened(EdvrLike(), window=3).layout == "(N, T, 3, H, W)"
    assert "(N, T, 3, H, W) and as (N, 3, T, H, W): the first is meant" in said()[0]


def test_a_window_that_does_not_fit_says_what_was_tried():
    with pytest.raises(NetworkError) as caught:
        opened(FastDvdNetLike(), window=4)
    text = str(caught.value)
    assert text.startswith("FastDvdNetLike takes no window of 4 frames; (N, T*3, H, W)")
    assert "(N, 3, T, H, W): IndexError: tuple index" in text
    assert "\n" not in text


def test_the_newest_frame_is_the_last_and_the_picture_is_that_of_look_ahead():
    class Which(nn.Module):
        def forward(self, x):
            return torch.zeros_like(x[:, :3]) + x[:, 3:6]

    facts = NetworkFacts(returns_rain=True)
    video = opened(Which(), facts, window=4, look_ahead=1)
    stream = VideoStream(video)
    frames = [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(5)]
    got = [int(stream.derain(frame)[0, 0, 0]) for frame in frames]
    # The third frame less the second, clipped; at first all are the first frame.
    assert got == [0, 0, 20, 20, 20]


def test_a_network_that_returns_its_window_derains_the_frame_that_is_meant():
    class All(nn.Module):
        def forward(self, x):
            if x.shape[2] != 3:
                raise ValueError("wanted (N, T, 3, H, W)")
            return x

    stream = VideoStream(opened(All(), window=5, look_ahead=2))
    frames = [np.full((16, 16, 3), 20 * k, np.uint8) for k in range(5)]
    assert [int(stream.derain(f)[0, 0, 0]) for f in frames] == [0, 0, 0, 20, 40]


@pytest.mark.parametrize(
    ("network", "window", "look_ahead", "facts", "message"),
    [
        (ThreeArguments, 1, 1, PLAIN, "--look-ahead 1 needs a --window of 2 frames"),
        (ThreeArguments, 3, 3, PLAIN, "--look-ahead 3 needs a --window of 4 frames"),
        (RvmLike, 5, 0, PLAIN, "RvmLike has states of its own; --window is for"),
        (
            *(RvmLike, 1, 1, NetworkFacts(returns_rain=True)),
            "--rain and --look-ahead exclude each other",
        ),
    ],
)
def test_options_that_contradict_the_network(
    network, window, look_ahead, facts, message
):
    with pytest.raises(NetworkError, match=message):
        opened(network(), facts, window, look_ahead)


def test_shapes_of_states_at_one_size_and_at_many():
    video = opened(RvmLike(), BY_16)
    assert [s.shape for s in video.specs(SizeRange.parse("40x30"))] == [
        (1, 4, 16, 24),
        (1, 6, 8, 12),
        (1, 8, 4, 6),
        (1, 10, 2, 3),
    ]
    many = video.specs(SizeRange.parse("40x32,64x64,128x100"))
    assert [s.shape[2:] for s in many] == [
        (f"height/{k}", f"width/{k}") for k in (2, 4, 8, 16)
    ]
    assert {(s.dtype, s.start) for s in many} == {("float32", "zeros")}
    by_attribute = opened(RlspLike(), NetworkFacts(multiple_of=2))
    assert by_attribute.shapes(Size(48, 32)) == [(1, 3, 32, 48), (1, 12, 16, 24)]
    at_many = by_attribute.specs(SizeRange.parse("40x32,64x64,128x100"))
    assert [s.shape for s in at_many] == list(RlspLike.states)


def test_a_shape_that_is_no_fraction_is_refused_for_a_range_of_sizes():
    class Odd(Hidden):
        def states(self, height, width):
            return [(1, 3, height // 2 + 1, width)]

    video = opened(Odd())
    assert video.specs(SizeRange.parse("48x32"))[0].shape == (1, 3, 17, 48)
    with pytest.raises(NetworkError, match=r"a state of Odd is \(1, 3, 25, 48\) in"):
        video.specs(SizeRange.parse("32x32,48x48,64x64"))


@pytest.mark.parametrize("shapes", [3, [3], [(1, -2)], [(1, "depth")], ["height"]])
def test_shapes_that_make_no_sense(shapes):
    video = opened(Hidden(shapes))
    with pytest.raises(NetworkError, match=r"Hidden\.states says .*; wanted a list of"):
        video.shapes(Size(48, 32))


def test_what_has_states():
    assert has_states(RvmLike())
    assert has_states(RlspLike())
    assert not has_states(ThreeArguments())
    other = nn.Module()
    other.states = nn.ModuleList()
    assert not has_states(other)
    assert opened(nn.Identity()) is None


class Forgets(Hidden):
    def forward(self, x, mean):
        return x + mean


class ForgetsOne(Hidden):
    def states(self, height, width):
        return [(1, 3, height, width)] * 2

    def forward(self, x, a, b):
        return x, a


class Counts(Hidden):
    def forward(self, x, mean):
        return x, mean.long()


class Shrinks(Hidden):
    def forward(self, x, mean):
        return x, mean[:, :, 1:]


class Swaps(Hidden):
    def states(self, height, width):
        return [(1, 3, height, width), (1, 8, height, width)]

    def forward(self, x, a, b):
        return x, b, a


class Diverges(Hidden):
    def forward(self, x, mean):
        return x, (mean + 1) * 1e20


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Forgets, "Forgets returns one, wanted the derained picture and 1 states, as"),
        (ForgetsOne, "ForgetsOne returns 2 outputs, wanted the derained picture and 2"),
        (Counts, r"Counts returns state_0 as torch\.int64, wanted a tensor of floats"),
        (
            Shrinks,
            r"state_0 goes in as \(1, 3, 8, 8\) and comes out as \(1, 3, 7, 8\) on "
            "frame 0 of 8x8$",
        ),
        (
            Swaps,
            r"state_0 goes in as \(1, 3, 8, 8\) and comes out as \(1, 8, 8, 8\) on "
            "frame 0 of 8x8; are the states returned in another order",
        ),
        (Diverges, r"Diverges returns NaN or infinity in state_0 on frame 1 of 8x8"),
    ],
)
def test_states_that_cannot_go_in_again(network, message):
    stream = VideoStream(opened(network()))
    with pytest.raises(NetworkError, match=message) as caught:
        [stream.derain(np.zeros((8, 8, 3), np.uint8)) for _ in range(3)]
    assert "\n" not in str(caught.value)


def test_a_stream_remembers_and_starts_afresh_where_the_size_changes():
    stream = VideoStream(opened(Hidden()))
    white = np.full((8, 8, 3), 255, np.uint8)
    levels = [int(stream.derain(f)[0, 0, 0]) for f in (white, white, white[:4], white)]
    assert levels == [128, 140, 128, 128]
    assert stream.largest == pytest.approx(0.19)


def test_opening_a_network_finds_its_memory(said):
    loaded = open_network(RvmLike(), facts=BY_16)
    assert loaded.video.network is loaded.network
    assert said() == []
    assert open_network(ThreeArguments(), window=3, look_ahead=2).video.look_ahead == 2
    with pytest.raises(NetworkError, match=r"forward wants old, new besides the pictu"):
        open_network(ThreeArguments())
    assert open_network("qsnet", random_weights=True).video is None
