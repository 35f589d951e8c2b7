import pytest

from derain.core.sizes import Size
from derain.runtime.video.colour import BT601, BT709, Colour

UNSPECIFIED, RGB, BT2020, PQ = 2, 0, 9, 16


@pytest.mark.parametrize(
    ("tags", "size", "wanted"),
    [
        (Colour(1, 1, 1), "640x480", BT709),
        (Colour(5, 5, 6), "1920x1080", Colour(5, 5, 6)),
        (Colour(BT2020, 9, PQ), "3840x2160", Colour(BT2020, 9, PQ)),
        (Colour(1), "640x480", Colour(1, UNSPECIFIED, UNSPECIFIED)),
        (Colour(UNSPECIFIED), "640x480", BT601),
        (Colour(UNSPECIFIED), "1280x720", BT709),
        (Colour(UNSPECIFIED), "720x1280", BT709),
        (Colour(RGB, 1, 13), "1280x720", Colour(1, 1, 13)),
    ],
)
def test_resolved(tags, size, wanted):
    assert tags.resolved(Size.parse(size)) == wanted
