"""What a bundle says about its states, and the shapes that follow."""

import dataclasses

import pytest

from derain.core.sizes import Size
from derain.core.states import FRAME_SHAPE, StateSpec, state_names

HIDDEN = StateSpec(
    name="state_0", shape=(1, 16, "height/2", "width/4"), dtype="float16"
)
FRAME = StateSpec(name="state_1", shape=FRAME_SHAPE, dtype="uint8", start="frame")


def test_the_shape_follows_from_the_padded_frame_or_from_the_frame():
    size, padded = Size(30, 21), Size(32, 24)
    assert HIDDEN.shape_for(size, padded) == (1, 16, 12, 8)
    assert FRAME.shape_for(size, padded) == (1, 21, 30, 3)
    whole = dataclasses.replace(HIDDEN, shape=("height", "width"))
    assert whole.shape_for(size, padded) == (24, 32)


def test_a_length_that_does_not_come_out_whole():
    with pytest.raises(ValueError, match="state_0: width/4 of 30x24 is not a whole"):
        HIDDEN.shape_for(Size(30, 24), Size(30, 24))


def test_the_graphs_names():
    assert (HIDDEN.input, HIDDEN.output) == ("state_0_in", "state_0_out")
    assert state_names(2) == ["state_0", "state_1"]
    assert state_names(11)[::10] == ["state_00", "state_10"]
    for count in (1, 10, 11, 101):
        names = state_names(count)
        assert sorted(f"{name}_in" for name in names) == [f"{n}_in" for n in names]


@pytest.mark.parametrize("state", [HIDDEN, FRAME])
def test_a_state_survives_being_written(state):
    assert StateSpec.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "hidden"}, "state 'hidden': wanted a name such as state_0"),
        ({"shape": (1, 0)}, "length 0 is no number above 0"),
        ({"shape": (1, True)}, "length True is no number"),
        ({"shape": (1, 2.5)}, "length 2.5 is no number"),
        ({"shape": ("height/0",)}, "length 'height/0' is no"),
        ({"shape": ("frame_width/2",)}, "length 'frame_width/2' is no"),
        ({"dtype": "int64"}, "dtype 'int64' is not known"),
        ({"start": "noise"}, "start 'noise' is not known"),
        ({"start": "frame"}, "cannot start as a frame, which is uint8"),
    ],
)
def test_a_state_that_makes_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(HIDDEN, **change)
