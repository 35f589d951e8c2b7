"""Every option of every command that has a range, with what is not in it."""

import importlib

import click
import pytest

from support.faults import COMMANDS, Fault

# What numbers are mistaken for, or hide behind.
NO_NUMBERS = {
    "empty": "",
    "word": "many",
    "nan": "nan",
    "infinite": "inf",
    "huge-exponent": "1e400",
    "huge-integer": "9" * 5000,
    "superscript": "²",
    "unicode-digits": "٣٣",
    "underscore": "1_0",
}


def _commands():
    for name, module in COMMANDS.items():
        main = importlib.import_module(module).main
        if isinstance(main, click.Group):
            for part, command in main.commands.items():
                yield (name, part), command
        else:
            yield (name,), main


def _ranged():
    for words, command in _commands():
        for parameter in command.params:
            kind = parameter.type
            if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
                yield words, parameter, kind


RANGED = list(_ranged())


def _faults():
    for words, parameter, kind in RANGED:
        option = max(parameter.opts, key=len)
        bad = dict(NO_NUMBERS)
        if isinstance(kind, click.types.IntParamType):
            bad["fraction"] = "1.5"
        for side, bound, step in (("below", "min", -1), ("above", "max", 1)):
            value = getattr(kind, bound, None)
            if value is not None:
                bad[side] = str(value + step)
        for what, value in bad.items():
            yield Fault(
                name=f"{'-'.join(words)}{option}-{what}",
                run=(*words, f"{option}={value}"),
                status=2,
                says=rf"Invalid value for '.*{option}.*'",
            )


FAULTS = list(_faults())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_value_out_of_range_is_refused_before_anything_runs(fault, same_place):
    fault.check(same_place)


@pytest.mark.parametrize(
    ("words", "parameter", "kind"),
    RANGED,
    ids=["".join([*w[-1:], max(p.opts, key=len)]) for w, p, _ in RANGED],
)
def test_every_number_has_a_range(words, parameter, kind):
    assert getattr(kind, "min", None) is not None
    assert getattr(kind, "max", None) is not None
