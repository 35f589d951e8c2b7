"""Options of the command and of the function."""

import dataclasses

import pytest

from derain.runtime.tensorrt.compile_options import (
    CompileKeywords,
    CompileOptions,
    parse_bytes,
)


@pytest.mark.parametrize(
    ("text", "amount"), [("512M", 512 << 20), ("2GiB", 2 << 30), ("4096", 4096)]
)
def test_amounts_of_memory(text, amount):
    assert parse_bytes(text) == amount


def test_keywords_are_the_options():
    names = {field.name for field in dataclasses.fields(CompileOptions)}
    assert set(CompileKeywords.__annotations__) == names
