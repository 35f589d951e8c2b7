"""``--config run.toml``: the options of a command, by their long names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from derain.core.errors import ConfigError
from derain.core.numbers import shortened
from derain.core.reading import MOST_TEXT, read_text

_HOME = "config"


def read_config(path: Path, command: click.Command) -> dict[str, Any]:
    """The options in the TOML file `path`, as click's ``default_map`` wants them.

    Keys are long option names without the dashes in front (``max-latency-ms``), or the
    name of an argument (``bundle``). An option that may be repeated takes a list.

    Raises:
        ConfigError: It cannot be read, or has a key or a value that does not fit.
    """
    return options_in(str(path), read_toml(path), command)


def read_toml(path: Path) -> dict[str, Any]:
    """What the TOML file `path` holds.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(read_text(path, MOST_TEXT))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error


def options_in(
    place: str, table: dict[str, Any], command: click.Command
) -> dict[str, Any]:
    """The options of `command` in a `table`; messages say `place` for where it stands.

    Raises:
        ConfigError: A key or a value does not fit.
    """
    known = {_key(each): each for each in command.params if each.name != _HOME}
    defaults: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"{place} has an unknown key {shortened(key)}; wanted "
                f"{', '.join(sorted(known))}"
            )
        parameter = known[key]
        assert parameter.name is not None  # click makes one of the option
        defaults[parameter.name] = _value(place, key, value, parameter)
    return defaults


def filled(place: str, table: dict[str, Any], command: click.Command) -> Any:
    """What `command` returns when its options are those in a `table`.

    Raises:
        ConfigError: A key or a value does not fit, or one is missing.
    """
    values = options_in(place, table, command)
    try:
        return command.main([], place, standalone_mode=False, default_map=values)
    except click.UsageError as error:
        raise ConfigError(f"{place}: {error.format_message()}") from error
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _key(parameter: click.Parameter) -> str:
    names = [name for name in parameter.opts if name.startswith("--")]
    return names[0].removeprefix("--") if names else parameter.name or ""


def _value(place: str, key: str, value: Any, parameter: click.Parameter) -> Any:
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    values = value if parameter.multiple and isinstance(value, list) else [value]
    kinds = (bool,) if is_flag else (str, int, float)
    wanted = "true or false" if is_flag else "a string or a number"
    for each in values:
        if not isinstance(each, kinds) or (isinstance(each, bool) and not is_flag):
            raise ConfigError(f"{place}: {key} is {shortened(each)}, wanted {wanted}")
    texts = values if is_flag else [_text(place, key, each) for each in values]
    return texts if parameter.multiple else texts[0]


def _text(place: str, key: str, value: str | int | float) -> str:
    """`value` as a command line has it, which knows no NUL and no endless integers."""
    if isinstance(value, int):
        value = shortened(value)
    if "\0" in str(value):
        raise ConfigError(f"{place}: {key} is {shortened(value)}, which has a NUL")
    return str(value)
