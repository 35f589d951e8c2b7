"""The rule of padded sizes."""

import pytest

from derain.core.frame_contract import FrameContract, Padding
from derain.core.sizes import Size, SizeRange


@pytest.mark.parametrize(
    ("multiple_of", "minimum", "size", "wanted"),
    [
        (1, 1, (7, 5), (7, 5)),
        (16, 1, (17, 32), (32, 32)),
        (1, 32, (31, 40), (32, 40)),
        (16, 40, (20, 50), (48, 64)),  # 40 is no multiple of 16
        (12, 25, (1, 36), (36, 36)),
    ],
)
def test_padded_sizes_are_multiples_and_no_less_than_the_minimum(
    multiple_of, minimum, size, wanted
):
    contract = FrameContract(multiple_of=multiple_of, minimum=minimum)
    assert contract.padded(Size(*size)) == Size(*wanted)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((9, 16), Padding(7, 0, "reflect")),
        ((8, 16), Padding(8, 0, "edge")),  # 7 columns at most can be reflected
        ((16, 5), Padding(0, 11, "edge")),
        ((32, 16), Padding(0, 0, "reflect")),
    ],
)
def test_a_picture_is_reflected_where_it_is_large_enough(size, wanted):
    assert FrameContract(multiple_of=16).padding(Size(*size)) == wanted


@pytest.mark.parametrize(
    ("sizes", "never", "mode"),
    [
        ("16x32", True, "reflect"),
        ("9x9", False, "reflect"),
        ("7x9", False, "edge"),
        ("16x16,32x32,64x64", False, "reflect"),
        ("15x16,32x32,64x64", False, "edge"),
    ],
)
def test_a_range_of_sizes_is_filled_in_one_way(sizes, never, mode):
    contract = FrameContract(multiple_of=16)
    assert contract.never_pads(SizeRange.parse(sizes)) is never
    assert contract.pad_mode(SizeRange.parse(sizes)) == mode


def test_no_multiple_and_a_range_above_the_minimum_is_never_padded():
    contract = FrameContract(minimum=8)
    assert contract.never_pads(SizeRange.parse("8x9,16x16,20x20"))
    assert not contract.never_pads(SizeRange.parse("7x9,16x16,20x20"))
