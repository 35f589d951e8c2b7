"""What the command-line tools share: errors in one line, ``--quiet``, ``--verbose``."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import click

from derain.core.errors import DerainError
from derain.core.logs import shown
from derain.core.numbers import number, whole
from derain.core.reported import (
    INTERRUPTED,
    end,
    reported,
    require_address_space,
    told,
)
from derain.core.sizes import Size


class Command(click.Command):
    """A click command that says what it does, and reports our errors in one line.

    It has ``--quiet``, ``--verbose`` and ``--version`` besides its own options, shows
    what is logged on standard error, and ends with exit status 1 after a `DerainError`
    and after what `reported` says that the machine is to blame for. Anything else keeps
    its traceback: it is a bug.
    """

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run it as a program does, unless ``standalone_mode=False`` is given."""
        if not settings.get("standalone_mode", True):
            return super().main(*arguments, **settings)
        with reported(program=not arguments and "args" not in settings):
            return super().main(*arguments, **settings)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += [
            click.Option(
                ["--quiet", "-q"], is_flag=True, help="No progress and no notes."
            ),
            click.Option(
                ["--verbose", "-v"], is_flag=True, help="Say more: details, libraries."
            ),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Print the version of derain, and end.",
            ),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; the name of a file or folder is not empty.

        Empty, as of a variable that is not set, it would be the current folder.
        """
        given = self.make_parser(ctx).parse_args(list(args))[0]
        rest = super().parse_args(ctx, args)
        for each in self.params:
            value = given.get(each.name)
            values = value if isinstance(value, (list, tuple)) else [value]
            if isinstance(each.type, click.Path) and "" in values:
                raise click.BadParameter("wanted a name, got none", ctx, each)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning a `DerainError` into a click error."""
        quiet, verbose = ctx.params.pop("quiet"), ctx.params.pop("verbose")
        require_address_space()
        try:
            with shown(quiet=quiet, verbose=verbose):
                return super().invoke(ctx)
        except DerainError as error:
            raise click.ClickException(told(error)) from error
        except KeyboardInterrupt:  # click would say "Aborted!", after an empty line
            end("stopped by SIGINT", INTERRUPTED)


class DefaultGroup(click.Group):
    """A group one of whose commands, `default`, runs where none is named."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """See `Command.main`."""
        if not settings.get("standalone_mode", True):
            return super().main(*arguments, **settings)
        with reported(program=not arguments and "args" not in settings):
            return super().main(*arguments, **settings)

    def __init__(self, *arguments: Any, default: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the default in front where there is none."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """The options of the default are the group's, too."""
        self.commands[self._default].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _print_version(
    context: click.Context, parameter: click.Parameter, value: bool
) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"derain {importlib.metadata.version('derain')}")
        context.exit()


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


class Whole(click.IntRange):
    """An integer from `least` to `most`, as `numbers.whole` reads it."""

    name = "integer"

    def __init__(self, least: int, most: int) -> None:
        super().__init__(least, most)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """`value` as an integer; what is none, or out of range, is a usage error."""
        try:
            found = whole(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return int(super().convert(found, param, ctx))


class Number(click.FloatRange):
    """A number from `least` to `most`, as `numbers.number` reads it.

    Args:
        least: Smallest value.
        most: Largest value.
        above: Whether `least` itself is too small.
    """

    name = "number"

    def __init__(self, least: float, most: float, *, above: bool = False) -> None:
        super().__init__(least, most, min_open=above)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """`value` as a number; what is none, or out of range, is a usage error."""
        try:
            found = number(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return float(super().convert(found, param, ctx))


SIZE = Parsed("WIDTHxHEIGHT", Size.parse)
THREADS = Whole(0, 1024)  # as many as the largest servers have cores; 0: one a core
COUNT = Whole(1, 10**9)  # of frames, steps, pictures: a year of video at 30 fps
SECONDS = Number(0, 10**7)  # four months
DECIBELS = Number(0, 200)  # 8 bits end at 99 dB: core.metrics
