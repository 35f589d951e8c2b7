"""What the command-line tools share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from derain.core.errors import DerainError
from derain.core.sizes import Size


class Command(click.Command):
    """A click command that reports our own errors in one line, with exit status 1.

    Anything else keeps its traceback: it is a bug.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning a `DerainError` into a click error."""
        try:
            return super().invoke(ctx)
        except DerainError as error:
            raise click.ClickException(str(error)) from error


class Parsed(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """An option whose value a function makes from its text.

    Args:
        name: What ``--help`` calls the value.
        parse: Makes the value; a `ValueError` becomes a usage error.
    """

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Parse `value`, unless it is a default that needs none."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = Parsed("WIDTHxHEIGHT", Size.parse)
