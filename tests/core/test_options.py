"""Options of a command, written once."""

from dataclasses import MISSING, dataclass

import click
import pytest
from click.testing import CliRunner

from derain.core.commands import Command
from derain.core.options import option, options_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    source: str = option(MISSING, "Where from.")
    crf: int = option(17, "Quality.", kind=click.IntRange(0, 51), show_default=True)
    sinks: tuple[str, ...] = option((), "Where to.", names=("--sink",), multiple=True)
    force: bool = option(False, "Replace.")
    inner: int = 3


@click.command(cls=Command)
@options_from(Options)
def main(options: Options) -> None:
    """Print the options."""
    click.echo(options)


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_defaults_are_those_of_the_dataclass():
    assert run("--source", "a").output == f"{Options(source='a')}\n"


def test_values_of_the_command_line_are_taken():
    wanted = Options(source="a", crf=20, sinks=("x", "y"), force=True)
    arguments = ("--source", "a", "--crf", "20", "--sink", "x", "--sink", "y")
    assert run(*arguments, "--force").output == f"{wanted}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "Missing option '--source'"), (("--source", "a", "--crf", "52"), "0<=x<=51")],
)
def test_bad_values_are_usage_errors(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_help_says_defaults():
    assert "Quality.  [default: 17; 0<=x<=51]" in run("--help").output


def test_every_command_knows_its_version():
    assert run("--version").output.startswith("derain 0.")
