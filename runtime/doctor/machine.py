"""What checks take and give."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # needs NumPy and OpenCV, which may be what is broken
    from derain.core.bundle import Bundle

# ok: there, and good. warn: there, and not as it should be. missing: needed, and not
# there. absent: not there, and not needed.
Status = Literal["ok", "warn", "missing", "absent"]

_COMMAND_TIMEOUT_S = 60.0  # a slow disk, and packages that were never loaded


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        status: How it is.
        found: What was found, in a line.
        fix: A command to copy, or what else to do; empty if there is nothing to do.
    """

    status: Status
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said: exit status, standard output, and standard error."""

    status: int
    output: str
    errors: str = ""


class Host(Protocol):
    """What checks ask; tests have one of files and answers of their own."""

    @property
    def root(self) -> Path:
        """The folder that ``etc``, ``proc``, ``sys`` and ``dev`` are in."""
        ...

    def run(self, *command: str) -> Answer | None:
        """What `command` said; None where there is no such program."""
        ...


class ThisHost:
    """The machine that this runs on."""

    root = Path("/")

    def run(self, *command: str) -> Answer | None:
        """See `Host.run`.

        A program that does not come back in 60 seconds counts as failed.
        """
        program = shutil.which(command[0])
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *command[1:]],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(124, "", f"no answer in {_COMMAND_TIMEOUT_S:g} s")
        return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What is looked at.

    Attributes:
        machine: The machine.
        bundle: A bundle that is to run on it, or None.
        architecture: Of its processor: "x86_64", "aarch64".
    """

    machine: Host
    bundle: Bundle | None = None
    architecture: str = field(default_factory=platform.machine)

    def text(self, path: str) -> str | None:
        """What the file `path`, from the root, holds; None if it cannot be read."""
        try:
            data = (self.machine.root / path).read_bytes()
        except OSError:
            return None
        return data.decode("utf-8", "replace").strip("\0\n ")

    def python(self, code: str, *arguments: str) -> Answer:
        """What a new Python, the same as this one, says to `code`.

        For packages that may be broken: one that kills its process kills no other.
        """
        # Whatever lies in the current folder is no package.
        code = f"import sys; sys.path = [p for p in sys.path if p]\n{code}"
        answer = self.machine.run(sys.executable, "-c", code, *arguments)
        assert answer is not None  # this Python is running
        return answer


def last_line(answer: Answer) -> str:
    """The last line of standard error: of a traceback, the one that says it."""
    lines = (answer.errors or answer.output).splitlines()
    return lines[-1].strip() if lines else f"it ends with status {answer.status}"


def listed(names: Sequence[str]) -> str:
    """`names` with commas, or "none"."""
    return ", ".join(names) or "none"
