"""The options of a command as one frozen dataclass: defaults, help and limits once.

A field made by `option` is an attribute of the dataclass, an option of the command and
a key of its TOML file (see `derain.core.config_file`)::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class RunOptions:
        crf: int = option(17, "Quality of a video.", kind=Whole(0, 51))


    @click.command(cls=Command)
    @options_from(RunOptions)
    def main(options: RunOptions) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeVar

import click

from derain.core.errors import ConfigError

T = TypeVar("T")
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


def same_option(cls: type[Any], name: str) -> Any:
    """A field that is the option `name` of another command, whose options are `cls`."""
    (known,) = (each for each in fields(cls) if each.name == name)
    return field(default=known.default, metadata=known.metadata)


def described(cls: type[Any]) -> list[Field[Any]]:
    """The fields of `cls` that `option` made."""
    return [each for each in fields(cls) if _KEY in each.metadata]


def options_from(
    cls: type[Any],
    argument: str = "options",
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that the fields of `cls` describe.

    The command's function gets them as one instance of `cls`, named `argument`. Fields
    that `option` did not make are no options: the command fills them in with
    ``dataclasses.replace``. `renamed` has other names, by field, for a command that
    uses a field's own name for another thing.
    """
    names = {each.name: renamed.get(each.name, each.name) for each in described(cls)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(*arguments: Any, **values: Any) -> Any:
            mine = {field: values.pop(name) for field, name in names.items()}
            return function(*arguments, **{argument: cls(**mine)}, **values)

        described_command: Callable[..., Any] = command
        for each in reversed(described(cls)):
            add = _click_option(names[each.name], each.default, each.metadata[_KEY])
            described_command = add(described_command)
        return described_command

    return decorate


def from_keywords(cls: type[T], keywords: Mapping[str, Any]) -> T:
    """An instance of `cls`, as the command line would convert and check its values.

    Raises:
        ConfigError: A value is not one that the option takes.
        TypeError: There is no such option.
    """
    values = dict(keywords)
    for each in described(cls):
        known, value = each.metadata[_KEY], values.get(each.name)
        if known.kind is None or value is None:
            continue
        try:
            values[each.name] = (
                tuple(map(known.kind, value)) if known.multiple else known.kind(value)
            )
        except click.BadParameter as error:
            raise ConfigError(f"{each.name}: {error.message}") from error
    return cls(**values)


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
    names = {each.name for each in described(cls)}
    return [each for each in command.params if each.name in names]
