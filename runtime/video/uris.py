"""How sources and sinks are written: a place, and fields after a question mark."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from derain.core.errors import MediaError

T = TypeVar("T")


def split_fields(
    uri: str, form: str, defaults: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """What stands before the question mark, and the fields after it over `defaults`.

    Args:
        uri: What the user wrote.
        form: How it should have been written, without fields, for the message.
        defaults: Every field there is; one that is empty may be left out.

    Raises:
        MediaError: There is a field that is not in `defaults`.
    """
    place, _, query = uri.partition("?")
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if not fields.keys() <= defaults.keys():
        raise MediaError(f"{uri} is not of the form {_whole(form, defaults)}")
    return place, {**defaults, **fields}


def parsed(
    uri: str, form: str, defaults: Mapping[str, str], parse: Callable[[], T]
) -> T:
    """What `parse` makes of the fields of `uri`.

    Raises:
        MediaError: It raised a `ValueError` or divided by zero.
    """
    try:
        return parse()
    except (ValueError, ZeroDivisionError) as error:
        raise MediaError(
            f"{uri} is not of the form {_whole(form, defaults)}: {error}"
        ) from error


def refuse_rate(uri: str, fps: Fraction | None) -> None:
    """Raise if `fps` is given for a source that has its own.

    Raises:
        MediaError: It is.
    """
    if fps is not None:
        raise MediaError(
            f"{public(uri)} has its own frame rate; --fps is for pictures that become "
            "a video"
        )


def take_fields(uri: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """`uri` without the fields called `names`, and those fields.

    For addresses whose other fields are the server's business.

    Raises:
        MediaError: It is no address.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise MediaError(f"{public(uri)} is not an address: {error}") from error
    fields = parse_qsl(parts.query, keep_blank_values=True)
    taken = {name: value for name, value in fields if name in names}
    if not taken:
        return uri, {}  # as it was written, to the letter
    rest = urlencode([(name, value) for name, value in fields if name not in names])
    return urlunsplit(parts._replace(query=rest)), taken


def public(uri: str) -> str:
    """`uri` for messages: of an address, neither user, password nor fields.

    Cameras take their keys in fields, too.
    """
    match = re.match(r"([a-z][a-z0-9+.-]+://)(?:[^/?#]*@)?([^?#]*)", uri, re.IGNORECASE)
    if match is None or match[1] in ("test://", "csi://", "v4l2://"):
        return uri
    return match[1] + match[2]


def _whole(form: str, defaults: Mapping[str, str]) -> str:
    return form + "?" + "&".join(f"{name}={value}" for name, value in defaults.items())
