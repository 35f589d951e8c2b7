"""One fault: a command, what is wrong with what it is given, and how it must end."""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMANDS = {
    "derain-batch": "derain.batch.cli",
    "derain-bench": "derain.benchmarks.cli",
    "derain-calibrate": "derain.calibration.cli",
    "derain-compile": "derain.runtime.tensorrt.compile_cli",
    "derain-doctor": "derain.runtime.doctor.doctor_cli",
    "derain-eval": "derain.benchmarks.quality.evaluate_cli",
    "derain-export": "derain.export.cli",
    "derain-run": "derain.runtime.cli",
    "derain-train": "derain.training.cli",
    "derain-triton": "derain.export.triton_cli",
}
_SECONDS = 60  # far more than any fault takes to be found
_MOST = 1000  # characters of a line that a person reads

Content = str | bytes | Callable[[Path], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row of the corpus.

    Its command runs in a folder that holds a good bundle ``b`` (64x48), a picture
    ``in.png`` of that size, pairs ``pairs`` and what `given` adds or replaces.

    Attributes:
        name: What is wrong, for the test's name.
        run: The command and its arguments; a function is called in place of one and
            has to raise a `DerainError`.
        says: A pattern for its line on standard error, which begins with ``Error: ``.
        status: Exit status: 1, or 2 for wrong usage.
        given: Files by name: content, or a function that makes one at its path.
        left: Patterns of what is new in the folder afterwards; else nothing may be.
        changed: What may change of that which was there; else nothing may.
        process: It needs a process of its own: half a second.
        stdin: What it finds on standard input.
        environment: Variables to set, for a process of its own.
        shell: Set up by the shell before, for a process of its own, as ``ulimit -n``;
            ``$@`` is the command.
    """

    name: str
    run: tuple[str, ...] | Callable[[], object]
    says: str
    status: int = 1
    given: Mapping[str, Content] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    process: bool = False
    stdin: bytes | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    shell: str = ""

    def check(self, folder: Path) -> None:
        """Let it happen in `folder`, and assert that it ends as it must."""
        for name, content in self.given.items():
            _make(folder / name, content)
        before = snapshot(folder)
        with _within(_SECONDS), _chdir(folder):
            status, errors = self._outcome()
        after = snapshot(folder)
        assert status == self.status, errors
        one_line(errors, self.says)
        new = {name for name in after if name not in before}
        unwanted = [n for n in new if not any(fnmatch.fnmatch(n, p) for p in self.left)]
        assert not unwanted, f"left behind: {unwanted}"
        missing = [p for p in self.left if not fnmatch.filter(new, p)]
        assert not missing, f"not there: {missing}"
        touched = [
            name
            for name, content in before.items()
            if after.get(name) != content and name not in self.changed
        ]
        assert not touched, f"touched: {touched}"

    def _outcome(self) -> tuple[int, str]:
        if callable(self.run):
            return _called(self.run)
        if self.process or self.environment or self.shell:
            return self._in_process()
        from click.testing import CliRunner

        command, *arguments = self.run
        main = importlib.import_module(COMMANDS[command]).main
        # Quiet: progress and notes are no part of how it ends.
        words = [*arguments, "--quiet"]
        result = CliRunner().invoke(main, words, input=self.stdin)
        if result.exception is not None and not isinstance(
            result.exception, SystemExit
        ):
            raise result.exception
        return result.exit_code, result.stderr

    def _in_process(self) -> tuple[int, str]:
        assert not callable(self.run)
        command, *arguments = self.run
        words = [sys.executable, "-m", COMMANDS[command], *arguments]
        if not {"--help", "--version"} & set(arguments):  # which groups have alone
            words.append("--quiet")
        if self.shell:
            words = ["bash", "-c", f"{self.shell}", "bash", *words]
        result = subprocess.run(
            words,
            input=self.stdin or b"",
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, **self.environment},
        )
        return result.returncode, result.stderr.decode("utf-8", "surrogateescape")


def one_line(errors: str, pattern: str) -> None:
    """Assert that `errors` are one line that matches, beside notes and usage."""
    assert "Traceback" not in errors, errors
    lines = [line for line in errors.splitlines() if line]
    said = [line for line in lines if line.startswith(("Error: ", "stopped by "))]
    beside = ("note: ", "Usage: ", "Try ", "Loading ")
    others = [line for line in lines if not line.startswith(beside)]
    assert len(said) == 1, errors
    assert others == said, errors
    assert re.search(pattern, said[0]), said[0]
    assert len(said[0]) <= _MOST, f"{len(said[0])} characters: {said[0][:200]}"
    assert all(line.isprintable() for line in lines), repr(errors)


def snapshot(folder: Path) -> dict[str, object]:
    """What is in `folder`, by name: of files the bytes, of links where they point."""
    found: dict[str, object] = {}
    for root, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            path = os.path.join(root, name)  # noqa: PTH118 - of bytes
            mode = os.lstat(path).st_mode
            content: object = stat.S_IFMT(mode)
            if stat.S_ISLNK(mode):
                content = os.readlink(path)  # noqa: PTH115 - of bytes
            elif stat.S_ISREG(mode) and os.stat(path).st_size < 1 << 26:  # noqa: PTH116
                with open(path, "rb") as file:  # noqa: PTH123 - of bytes
                    content = file.read() if os.access(path, os.R_OK) else None
            found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = content
    return found


def sparse(size: int) -> Callable[[Path], None]:
    """Makes a file of `size` bytes that takes no room."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def _make(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        content(path)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        path.write_bytes(content)


def _called(function: Callable[[], object]) -> tuple[int, str]:
    from derain.core.errors import DerainError

    try:
        function()
    except DerainError as error:
        return 1, f"Error: {error}\n"
    return 0, ""


@contextlib.contextmanager
def _chdir(folder: Path):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _within(seconds: int):
    def give_up(number, frame):
        raise AssertionError(f"it hangs: nothing after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
