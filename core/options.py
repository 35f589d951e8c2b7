"""The options of a command as one frozen dataclass: defaults, help and limits once.

A field made by `option` is an attribute of the dataclass, an option of the command and
a key of its TOML file (see `derain.core.config_file`)::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class RunOptions:
        crf: int = option(17, "Quality of a video.", kind=click.IntRange(0, 51))


    @click.command(cls=Command)
    @options_from(RunOptions)
    def main(options: RunOptions) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import click

_KEY = "option"


@dataclass(frozen=True, slots=True)
class _Option:
    """What click must know of a field, besides its name and its default."""

    help: str
    kind: Any
    names: tuple[str, ...]
    metavar: str | None
    multiple: bool
    envvar: str | None
    show_default: bool | str


def option(
    default: Any,
    help: str,
    *,
    kind: Any = None,
    names: tuple[str, ...] = (),
    metavar: str | None = None,
    multiple: bool = False,
    envvar: str | None = None,
    show_default: bool | str = False,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: Its value where nobody gives one; ``dataclasses.MISSING`` where
            somebody must. A bool makes a flag.
        help: A sentence for ``--help``.
        kind: click's type of the value; None takes it from the default.
        names: How the option is written; empty: the field's name with dashes.
        metavar: What ``--help`` calls the value.
        multiple: May be repeated; the field is a tuple.
        envvar: Environment variable that gives it, too.
        show_default: Whether ``--help`` says the default, or what it says.
    """
    known = _Option(help, kind, names, metavar, multiple, envvar, show_default)
    return field(default=default, metadata={_KEY: known})


def options_from(
    cls: type[Any], argument: str = "options"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that the fields of `cls` describe.

    The command's function gets them as one instance of `cls`, named `argument`. Fields
    that `option` did not make are no options: the command fills them in with
    ``dataclasses.replace``.
    """
    described = [
        (each, each.metadata[_KEY]) for each in fields(cls) if _KEY in each.metadata
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(*arguments: Any, **values: Any) -> Any:
            mine = {each.name: values.pop(each.name) for each, _ in described}
            return function(*arguments, **{argument: cls(**mine)}, **values)

        described_command: Callable[..., Any] = command
        for each, known in reversed(described):
            add = _click_option(each.name, each.default, known)
            described_command = add(described_command)
        return described_command

    return decorate


def _click_option(
    name: str, default: Any, known: _Option
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    names = known.names or ("--" + name.replace("_", "-"),)
    if isinstance(default, bool):
        return click.option(
            *names, name, is_flag=True, default=default, help=known.help
        )
    needed = default is MISSING
    # A default of None would be one: click would not ask for the option.
    defaults = {} if needed else {"default": default}
    return click.option(
        *names,
        name,
        type=known.kind,
        required=needed,
        **defaults,
        help=known.help,
        metavar=known.metavar,
        multiple=known.multiple,
        envvar=known.envvar,
        show_default=known.show_default,
    )


def named(command: click.Command, cls: type[Any]) -> list[click.Parameter]:
    """The parameters of `command` that stem from fields of `cls`."""
    names = {each.name for each in fields(cls) if _KEY in each.metadata}
    return [each for each in command.params if each.name in names]
