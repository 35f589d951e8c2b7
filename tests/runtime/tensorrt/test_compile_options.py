"""Options of the command and of the function."""

import dataclasses
from types import SimpleNamespace

import pytest

from derain.core.errors import EngineError
from derain.core.sizes import ANY_SIZE, SizeRange
from derain.runtime.tensorrt.compile import _sizes
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


def test_an_engine_is_not_for_any_size():
    with pytest.raises(EngineError, match=r"any size up to 4096x4096, .* --size"):
        _sizes(SimpleNamespace(sizes=ANY_SIZE), None)
    wanted = SizeRange.parse("640x480")
    assert _sizes(SimpleNamespace(sizes=ANY_SIZE), wanted) == wanted
