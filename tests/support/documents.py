"""What the documents say one can type: fenced commands, and options in the text."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RUN = "run"
NOT_RUN = "not run: "
# Commands of the README that CI and a test read by these names.
README_MARKS = ("run command", "test command")
# Pages that say how they are tried themselves, or whose commands come with a module.
NEEDS = {
    "cameras.md": "derain.runtime.pipeline.fleet",
    "fused-units.md": "derain.export.passes.fused_units",
}
_MARK = re.compile(r"<!-- (.*) -->")
_COMMENT = re.compile(r"\s+# .*$|^#.*$")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Fence:
    """Commands between two lines of three backticks.

    Attributes:
        page: Where it stands.
        line: Its first line, from 1.
        mark: The comment above it, without the arrows; empty where there is none.
        text: What stands in it.
    """

    page: Path
    line: int
    mark: str
    text: str

    @property
    def name(self) -> str:
        """For the names of tests."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Words of each command that derain installs."""
        text = self.text.replace("\\\n", " ")
        lines = [_COMMENT.sub("", line) for line in text.splitlines()]
        found = []
        for part in re.split(r"&&|\n", "\n".join(lines)):
            words = shlex.split(part)
            while words and _ASSIGNMENT.fullmatch(words[0]):
                words = words[1:]
            if words and Path(words[0]).name.startswith("derain-"):
                found.append([Path(words[0]).name, *words[1:]])
        return found


def pages() -> list[Path]:
    """Every page that is here, but for those of what is not."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
    return [page for page in found if page.exists() and not lacks(page)]


def lacks(page: Path) -> bool:
    """Whether the page is of something that this checkout has not."""
    module = NEEDS.get(page.name)
    return module is not None and find_spec(module) is None


def fences(page: Path) -> list[Fence]:
    """The fences of commands, those without a language, of a page."""
    found: list[Fence] = []
    inside: str | None = None
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if inside is None and stripped.startswith("```"):
            inside, start = stripped[3:], number
        elif inside is not None and stripped == "```":
            if not inside:
                above = _MARK.fullmatch(lines[start - 2].strip()) if start > 1 else None
                text = "\n".join(lines[start : number - 1])
                found.append(Fence(page, start + 1, above[1] if above else "", text))
            inside = None
    return found


def command(name: str) -> click.Command:
    """The click command that is installed as `name`."""
    (entry,) = (e for e in distribution("derain").entry_points if e.name == name)
    found = getattr(import_module(entry.module), entry.attr)
    assert isinstance(found, click.Command)
    return found


def names() -> list[str]:
    """Of all commands."""
    return [
        e.name for e in distribution("derain").entry_points if e.name[:7] == "derain-"
    ]


def parse(program: click.Command, words: list[str], name: str) -> None:
    """Read `words` as click would, and do nothing.

    Raises:
        click.UsageError: An option is unknown, a value is none of its kind, or
            something that is required is missing.
    """
    default = getattr(program, "_default", None)  # of a `DefaultGroup`
    if default and (not words or words[0] not in (*program.commands, "--help")):
        words = [default, *words]
    context = click.Context(program, info_name=name)
    given, rest, _ = program.make_parser(context).parse_args(list(words))
    if isinstance(program, click.Group) and rest:
        if rest[0] not in program.commands:
            raise click.UsageError(f"{name} has no command {rest[0]!r}")
        parse(program.commands[rest[0]], rest[1:], f"{name} {rest[0]}")
        return
    if rest:
        raise click.UsageError(f"{name}: unexpected {' '.join(rest)}")
    if "help" in given:
        return
    for param in program.params:
        value = given.get(param.name or "")
        # click from 8.3 on has a sentinel of its own for what is not given.
        if value is None or value == () or type(value).__name__ == "Sentinel":
            if param.required and param.name not in ("source", "bundle"):
                raise click.UsageError(f"{name}: missing {param.opts[0]}")
        elif not (isinstance(param, click.Option) and (param.is_flag or param.count)):
            param.type_cast_value(context, value)


def options(program: click.Command) -> set[str]:
    """Names of all options of a command and its commands."""
    own = {name for p in program.params for name in (*p.opts, *p.secondary_opts)}
    own |= {"--help"}
    if isinstance(program, click.Group):
        for each in program.commands.values():
            own |= options(each)
    return own
