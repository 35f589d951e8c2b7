"""Numbers from text that anybody may have written: ASCII, finite, and in a range.

``int``, ``float`` and `Fraction` take much more for a number: "1_0", digits of every
script, "nan", and "1e999999999", which keeps `Fraction` busy for ever.
"""

from __future__ import annotations

import re
from fractions import Fraction

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(
    r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})(e[+-]?[0-9]{1,3})?",
    re.IGNORECASE,
)
_RATIO = re.compile(r"[0-9]{1,9}/[0-9]{1,9}")
_BITS = 100  # of an integer that is worth showing; Python makes no text of long ones

SLOWEST, FASTEST = Fraction(1, 3600), 1000  # frames per second: one an hour
_DENOMINATOR = 10**6  # FFmpeg's rates are two integers of 31 bits


def shortened(value: object, most: int = 60) -> str:
    """`value` as Python writes it, at a length for people."""
    if isinstance(value, int) and value.bit_length() > _BITS:
        return "an integer of very many digits"
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def whole(value: object) -> int:
    """An integer from its text; or `value` itself, which must be one.

    Raises:
        ValueError: It is none, or one of more digits than any has that makes sense.
    """
    if isinstance(value, str):
        if _WHOLE.fullmatch(value.strip()):
            return int(value)
    elif hasattr(value, "__index__") and not isinstance(value, bool):
        found = value.__index__()
        if isinstance(found, int) and found.bit_length() <= _BITS:
            return found
    raise ValueError(f"{shortened(value)} is not a valid integer")


def number(value: object) -> float:
    """A number from its text; or `value` itself, which must be one.

    It may be infinite, as "1e400" is, which no range holds.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value.strip()):
        try:
            found = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            found = float("nan")
        if found == found and not isinstance(value, (bool, bytes, bytearray)):
            return found
    raise ValueError(f"{shortened(value)} is not a valid number")


def in_range(value: float, least: float, most: float) -> float:
    """`value`.

    Raises:
        ValueError: It is less than `least` or more than `most`.
    """
    if not least <= value <= most:
        raise ValueError(f"{value:g} is not in the range from {least:g} to {most:g}")
    return value


def rate(value: str | float | Fraction) -> Fraction:
    """A frame rate in frames per second from ``25`` or ``"30000/1001"``.

    Raises:
        ValueError: It is none, or not between one an hour and 1000 a second.
    """
    try:
        if isinstance(value, str) and _RATIO.fullmatch(value.strip()):
            value = Fraction(value.strip())
        exact = value if isinstance(value, Fraction) else Fraction(number(value))
        found = exact.limit_denominator(_DENOMINATOR)
    except (ValueError, ZeroDivisionError, OverflowError):
        found = Fraction(0)
    if not SLOWEST <= found <= FASTEST:
        raise ValueError(
            f"{shortened(value)} is not a rate such as 25 or 30000/1001, from 1/3600 "
            "to 1000"
        )
    return found
