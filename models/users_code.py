"""Running code that somebody else wrote: what it raises is told in one line.

While it runs, CUDA means the processor: see `derain.models.processor`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from derain.core.errors import DerainError, NetworkError
from derain.core.lazy import load
from derain.core.reported import broken_package

# What `derain.core.interrupts` ends the program with after SIGTERM and SIGHUP.
_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGHUP)
_AROUND = 4  # folders above a file in which a module that it imports is looked for


@contextlib.contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turn whatever a user's own code raises, ``sys.exit()`` too, into one line.

    Args:
        what: Is being done.

    Raises:
        NetworkError: It raised something; that is the cause.
    """
    on_processor = load("derain.models.processor", "on_processor", extra="export")
    try:
        # What it prints is no result of ours, which goes to standard output.
        with _as_before(), on_processor(), contextlib.redirect_stdout(sys.stderr):
            yield
    except (DerainError, KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit as error:
        if error.code in _STOPPED:
            raise
        raise NetworkError(
            f"{what} failed: it ends the program (sys.exit); keep what a script does "
            'under if __name__ == "__main__"'
        ) from error
    except BaseException as error:
        raise NetworkError(f"{what} failed: {_told(error)}") from error


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Undo what a user's code sets for all of a program: our paths are relative."""
    set_dtype = load("torch", "set_default_dtype", extra="export")
    dtype = load("torch", "get_default_dtype", extra="export")()
    folder = Path.cwd()
    try:
        yield
    finally:
        set_dtype(dtype)
        os.chdir(folder)


def brief(error: BaseException) -> str:
    """The type and the first line of an error that is not ours."""
    try:
        text = str(error)
    except BaseException:  # an error of somebody's own, with a mistake in it
        text = ""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _told(error: BaseException) -> str:
    """As `brief`; of an import that fails, what to do as well."""
    if not isinstance(error, ImportError):
        return brief(error)
    if "relative import" in str(error):
        return (
            f"{brief(error)}; go to the folder above its package, and name the "
            "package, too: --model PACKAGE.MODULE:CLASS"
        )
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package:
        return brief(error)
    where, folder = _importer(error, package)
    if folder is not None:
        return (
            f"{where} imports {package}, which is in another folder than this; set "
            f"PYTHONPATH={folder}"
        )
    if _is_there(package):
        return (
            f"{where} imports {error.name}, which the {package} that is there does not "
            f"have; install the version of {package} that the network was written for"
        )
    return f"{where} imports {package}: {broken_package(error) or brief(error)}"


def _importer(error: BaseException, package: str) -> tuple[str, Path | None]:
    """Who wants `package`, as ``FILE, line N``, and a folder around that has it."""
    trace, where, file = error.__traceback__, "it", Path()
    while trace is not None:
        frame = trace.tb_frame
        name = frame.f_code.co_filename
        if not name.startswith("<") and "importlib" not in Path(name).parts:
            file = Path(name)
            where = f"{file.name}, line {trace.tb_lineno},"
        trace = trace.tb_next
    around = [each for each in file.parents if str(each) not in sys.path][:_AROUND]
    for folder in around:
        if (folder / f"{package}.py").is_file() or (folder / package).is_dir():
            return where, folder
    return where, None


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
