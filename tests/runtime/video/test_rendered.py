from fractions import Fraction

import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.sources import open_source


def test_fields_of_the_uri():
    source = open_source("test://rain?size=64x48&fps=12.5&seconds=0.8&seed=7")
    assert source.info.size == Size(64, 48)
    assert source.info.fps == Fraction(25, 2)
    assert source.info.frames == 10
    frames = list(source)
    assert [frame.time for frame in frames] == [Fraction(2 * i, 25) for i in range(10)]
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.dtype == np.uint8


def test_the_seed_makes_the_clip():
    def first(seed):
        frames = open_source(f"test://rain?size=64x48&seconds=0.1&seed={seed}")
        return next(iter(frames)).image

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))


def test_defaults():
    info = open_source("test://rain").info
    assert (info.size, info.fps, info.frames) == (Size(1280, 720), 24, 48)


@pytest.mark.parametrize(
    "uri",
    [
        "test://snow",
        "test://rain?colour=red",
        "test://rain?size=big",
        "test://rain?fps=0",
        "test://rain?fps=1/0",
        "test://rain?seconds=0",
        "test://rain?seed=x",
    ],
)
def test_other_uris_name_the_form(uri):
    with pytest.raises(
        MediaError, match=r"is not of the form test://rain\?size=1280x720&"
    ):
        open_source(uri)
