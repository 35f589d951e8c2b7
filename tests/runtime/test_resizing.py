import pytest

from derain.core.sizes import Size, SizeRange
from derain.runtime.resizing import nearest_size

RANGE = SizeRange.parse("64x32,640x480,1920x1080")


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ("640x480", "640x480"),
        ("64x1080", "64x1080"),
        ("3840x2160", "1920x1080"),
        ("3840x1080", "1920x540"),  # the shape is kept
        ("1080x1920", "608x1080"),
        ("32x16", "64x32"),
        ("32x32", "64x64"),
        ("5000x20", "1920x32"),  # no size keeps this shape
    ],
)
def test_nearest_size(size, wanted):
    assert nearest_size(Size.parse(size), RANGE) == Size.parse(wanted)


def test_nearest_size_of_a_static_bundle():
    static = SizeRange.parse("1280x720")
    for size in ("1x1", "1280x720", "640x480", "4000x100"):
        assert nearest_size(Size.parse(size), static) == Size(1280, 720)
