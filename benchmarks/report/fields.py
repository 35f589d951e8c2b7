"""Dataclasses to JSON and back, every field checked."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from derain.core.errors import BenchmarkError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """`value`, a dataclass, as JSON objects and arrays."""
    return dataclasses.asdict(value)


def from_json(cls: type[T], value: Any, where: str) -> T:
    """`value`, as `to_json` wrote it, as a `cls`.

    Args:
        cls: A dataclass of JSON types, dataclasses, tuples, lists and dicts of them.
        value: What ``json.loads`` returned.
        where: Said in errors.

    Raises:
        BenchmarkError: A field without a default is missing, or one is unknown or of
            another type.
    """
    result: T = _convert(cls, value, where)
    return result


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (inner,) = [kind for kind in get_args(hint) if kind is not type(None)]
        return _convert(inner, value, where)
    if origin is Literal:
        return value if value in get_args(hint) else _fail(where, hint, value)
    if origin in (list, tuple):
        items = _checked(value, (list, tuple), where)
        inner = get_args(hint)[0]
        return origin(
            _convert(inner, item, f"{where}[{i}]") for i, item in enumerate(items)
        )
    if origin is dict:
        _, inner = get_args(hint)
        entries = _checked(value, (dict,), where)
        return {str(k): _convert(inner, v, f"{where}.{k}") for k, v in entries.items()}
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, _checked(value, (dict,), where), where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is hint else _fail(where, hint, value)


def _dataclass(cls: Any, fields: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}
    needed = {x for x, field in known.items() if field.default is dataclasses.MISSING}
    if missing := sorted(needed - fields.keys()):
        raise BenchmarkError(f"{where} has no {', '.join(missing)}")
    if extra := sorted(fields.keys() - known.keys()):
        raise BenchmarkError(f"{where} has unknown fields: {', '.join(extra)}")
    return cls(
        **{
            name: _convert(hints[name], fields[name], f"{where}.{name}")
            for name in known
            if name in fields
        }
    )


def _checked(value: Any, kinds: tuple[type, ...], where: str) -> Any:
    return value if isinstance(value, kinds) else _fail(where, kinds[0], value)


def _fail(where: str, wanted: Any, value: Any) -> Any:
    name = getattr(wanted, "__name__", str(wanted))
    raise BenchmarkError(f"{where} is {value!r}, wanted {name}")
