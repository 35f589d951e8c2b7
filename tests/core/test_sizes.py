import pytest

from derain.core.sizes import Size, SizeRange


def test_size_parses_what_it_prints():
    assert Size.parse("1280x720") == Size(1280, 720)
    assert str(Size(1280, 720)) == "1280x720"
    assert Size(1280, 720).pixels == 921_600


@pytest.mark.parametrize(
    "text", ["", "1280", "1280x", "x720", "1280*720", "-1x5", "1x2x3"]
)
def test_size_rejects_other_forms(text):
    with pytest.raises(ValueError, match="is not of the form WIDTHxHEIGHT"):
        Size.parse(text)


def test_size_rejects_nothing():
    with pytest.raises(ValueError, match="must be at least 1"):
        Size(0, 5)


def test_range_holds_what_is_between():
    sizes = SizeRange.parse("320x240,640x480,1920x1080")
    assert Size(320, 240) in sizes
    assert Size(1920, 240) in sizes
    assert Size(1921, 1080) not in sizes
    assert Size(320, 239) not in sizes
    assert not sizes.is_static
    assert str(sizes) == "320x240,640x480,1920x1080"


def test_range_of_one_size():
    sizes = SizeRange.parse("64x48")
    assert sizes == SizeRange.static(Size(64, 48))
    assert sizes.is_static
    assert str(sizes) == "64x48"
    assert Size(48, 64) not in sizes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1x1,2x2", "must be one size or three"),
        ("2x2,1x1,3x3", "sizes must grow from MIN over OPT to MAX"),
        ("1x9,2x2,3x3", "sizes must grow from MIN over OPT to MAX"),
    ],
)
def test_range_rejects_what_is_none(text, message):
    with pytest.raises(ValueError, match=message):
        SizeRange.parse(text)


@pytest.mark.parametrize(
    "value", ["1280x720", (1280, 720), [1280, 720], Size(1280, 720)], ids=repr
)
def test_size_of_takes_text_and_pairs(value):
    assert Size.of(value) == Size(1280, 720)


@pytest.mark.parametrize(
    "value", [(1280,), (1, 2, 3), (1.5, 2), ("a", "b"), 1280, None], ids=repr
)
def test_size_of_refuses_what_is_none(value):
    with pytest.raises(ValueError, match=r"is no size; wanted '1280x720' or"):
        Size.of(value)


@pytest.mark.parametrize(
    "value",
    [
        "1x2,3x4,5x6",
        ("1x2", (3, 4), Size(5, 6)),
        SizeRange(Size(1, 2), Size(3, 4), Size(5, 6)),
    ],
    ids=repr,
)
def test_range_of_takes_text_and_three_sizes(value):
    assert SizeRange.of(value) == SizeRange(Size(1, 2), Size(3, 4), Size(5, 6))


@pytest.mark.parametrize("value", ["64x48", (64, 48), Size(64, 48)], ids=repr)
def test_range_of_one_size_is_static(value):
    assert SizeRange.of(value) == SizeRange.static(Size(64, 48))
