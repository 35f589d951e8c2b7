from dataclasses import dataclass
from typing import Literal

import pytest

from derain.benchmarks.report.fields import from_json, to_json
from derain.core.errors import BenchmarkError


@dataclass(frozen=True)
class Inner:
    value: float | None


@dataclass(frozen=True)
class Grown:
    old: int
    new: bool = False


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"]
    inner: list[Inner]
    table: dict[str, list[int]]


GOOD = {"name": "x", "kind": "a", "inner": [{"value": None}], "table": {"k": [1]}}


def test_what_was_written_is_read_back():
    value = Outer("x", "a", [Inner(None), Inner(1.5)], {"k": [1]})
    assert from_json(Outer, to_json(value), "file") == value


def test_a_whole_number_is_a_float():
    assert from_json(Inner, {"value": 2}, "file").value == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "file.name is 3, wanted str"),
        ({"kind": "c"}, "file.kind is 'c'"),
        ({"inner": [{"value": "1"}]}, r"file.inner\[0\].value is '1', wanted float"),
        ({"inner": [{"value": True}]}, r"file.inner\[0\].value is True"),
        ({"inner": [{}]}, r"file.inner\[0\] has no value"),
        ({"table": {"k": 1}}, "file.table.k is 1, wanted list"),
        ({"more": 1}, "file has unknown fields: more"),
    ],
)
def test_a_field_that_is_wrong_is_named(change, message):
    with pytest.raises(BenchmarkError, match=message):
        from_json(Outer, GOOD | change, "file")


def test_a_field_that_is_missing_is_named():
    with pytest.raises(BenchmarkError, match="file has no inner, kind"):
        from_json(Outer, {"name": "x", "table": {}}, "file")


def test_a_field_with_a_default_may_be_missing():
    assert from_json(Grown, {"old": 1}, "file") == Grown(1)
    assert from_json(Grown, {"old": 1, "new": True}, "file") == Grown(1, new=True)
