"""What the command-line tools share."""

from __future__ import annotations

from typing import Any

import click

from derain.runtime.errors import DerainError
from derain.runtime.sizes import Size


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


class SizeType(click.ParamType[Size]):
    """An option that takes a size such as ``1280x720``."""

    name = "WIDTHxHEIGHT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Size:
        """Parse `value`; a wrong one is a usage error."""
        if isinstance(value, Size):
            return value
        try:
            return Size.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = SizeType()
