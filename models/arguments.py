"""Arguments that a network is built with: ``--arg NAME=VALUE``.

A value is a literal of Python (``32``, ``False``, ``[1, 1, 28]``, ``(3, 3)``), or text.
What a constructor with one parameter for everything (``args``, ``opt``) reads from it
is given by the same names; a dot in a name nests.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from derain.core.errors import ConfigError, NetworkError

# What people call a parameter that holds everything.
_HOLDERS = ("args", "arg", "opt", "opts", "options", "config", "cfg", "conf", "hparams")


class Settings(argparse.Namespace):
    """Values by name, as argparse makes them; ``settings["name"]`` works, too."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`, as of a dict."""
        return getattr(self, name, default)


def parse_argument(text: str) -> tuple[str, Any]:
    """``"width=32"`` -> ``("width", 32)``.

    Raises:
        ValueError: `text` is not of that form.
    """
    name, equals, value = text.partition("=")
    if not equals or not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{text!r} is not of the form NAME=VALUE, such as width=32")
    try:
        return name, ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if value.lower() in ("true", "false", "none"):
            wanted = value.capitalize()
            raise ValueError(f"{text!r}: write {name}={wanted}") from None
        return name, value


def unique(pairs: tuple[tuple[str, Any], ...], option: str) -> dict[str, Any]:
    """`pairs` by name.

    Raises:
        ConfigError: A name is given twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{option} {twice} is given twice")
    return found


def construct(model: str, make: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """What `make`, a class or a function, makes of the arguments `given`.

    Args:
        model: What the user calls it.
        make: Named by ``package.module:name``.
        given: Arguments by name.

    Raises:
        NetworkError: It wants others. What `make` itself raises is let through.
    """
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # written in C, or with a strange signature
        return make(**given)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [p for p in parameters if p.kind not in several]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    known = [p.name for p in named]
    unknown = [name for name in given if name not in known]
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    holder = _holder(known, missing, unknown)
    if holder is None:
        if unknown and not takes_any:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise NetworkError(f"{model} has no argument {unknown[0]!r}; {takes}")
        if missing:
            each = " ".join(f"--arg {name}=VALUE" for name in missing)
            raise NetworkError(f"{model} wants arguments; give {each}")
        return _call(make, named, given)
    settings, paths = _nested({name: given[name] for name in unknown})
    values = {name: value for name, value in given.items() if name not in unknown}
    try:
        return _call(make, named, {**values, holder: settings})
    except AttributeError as error:
        path = paths.get(id(error.obj))
        if path is None:
            raise
        raise NetworkError(
            f"{model} reads {holder}.{path}{error.name}, which is not given; give "
            f"{_options(make, holder, f'{path}{error.name}', given)}"
        ) from error


def _holder(known: list[str], missing: list[str], unknown: list[str]) -> str | None:
    """The parameter that everything goes into, if there is one."""
    if len(missing) == 1 and (unknown or missing[0] in _HOLDERS):
        return missing[0]
    likely = [name for name in known if name in _HOLDERS]
    return likely[0] if not missing and unknown and len(likely) == 1 else None


def _call(
    make: Callable[..., Any], named: list[inspect.Parameter], given: Mapping[str, Any]
) -> Any:
    first = [given[p.name] for p in named if p.kind == p.POSITIONAL_ONLY]
    names = [p.name for p in named if p.kind == p.POSITIONAL_ONLY]
    return make(*first, **{k: v for k, v in given.items() if k not in names})


def _nested(values: Mapping[str, Any]) -> tuple[Settings, dict[int, str]]:
    """Settings of `values`, and by their identities what is in front of a name."""
    root = Settings()
    paths = {id(root): ""}
    for name, value in values.items():
        *parents, last = name.split(".")
        here, path = root, ""
        for parent in parents:
            path += f"{parent}."
            inner = getattr(here, parent, None)
            if not isinstance(inner, Settings):
                inner = Settings()
                setattr(here, parent, inner)
            here = inner
            paths[id(here)] = path
        setattr(here, last, value)
    return root, paths


def _options(
    make: Callable[..., Any], holder: str, first: str, given: Mapping[str, Any]
) -> str:
    """The options for all that the module of `make` reads from `holder`."""
    module = sys.modules.get(getattr(make, "__module__", ""))
    try:
        source = inspect.getsource(module) if module else ""
    except (OSError, TypeError):
        source = ""
    read = re.findall(rf"\b{re.escape(holder)}\.([A-Za-z_]\w*)\b(?!\s*\()", source)
    names = [name for name in dict.fromkeys([first, *read]) if name not in given]
    return " ".join(f"--arg {name}=VALUE" for name in names)
