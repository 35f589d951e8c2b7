"""What ends a command without being a `DerainError`, in one line all the same.

The machine is to blame for these: its disk, its memory, its packages, its locale. All
else is a bug of ours and keeps its traceback; ``--verbose`` shows that of these, too.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import importlib.metadata
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import click

_log = logging.getLogger(__name__)

# How libraries of C++ say it: PyTorch, OpenCV, ONNX Runtime.
_NO_MEMORY = re.compile(
    r"can(?:'|no)t allocate memory|bad_alloc|Insufficient memory|[Ff]ailed to allocate"
    r"|failed to map segment|can't start new thread"
    r"|Memory allocation (?:still )?failed|[Oo]ut of memory|DefaultCPUAllocator",
    re.IGNORECASE,
)
# What C++ says of a thread that it cannot start; of a source it means something else.
_NO_THREAD = "Resource temporarily unavailable"
TOO_LITTLE = "there is too little memory for it; smaller frames take less"
# Of address space: below it OpenCV 5.0 ends its process by SIGSEGV while it loads,
# with no word (350 to 450 MB; from 500 MB on it says what it cannot have).
_LEAST_ADDRESSES = 512 << 20
_MOST, _HEAD, _TAIL = 900, 600, 250  # characters of a line that a person reads
INTERRUPTED = 130  # as the shell reports SIGINT
# What networks import whose package is called otherwise.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@contextlib.contextmanager
def reported(*, program: bool = False) -> Iterator[None]:
    """End the program with one line for what the machine is to blame for.

    Args:
        program: Nothing else runs in this process, which ends with the block.
    """
    _open_standard_streams()
    try:
        os.getcwd()  # noqa: PTH109 - as libraries do, some of which abort
    except OSError:
        end("Error: the current folder is gone; change to another", 1)
    try:
        yield
    except KeyboardInterrupt:
        end("stopped by SIGINT", INTERRUPTED)
    except SystemExit as ended:
        if program and isinstance(ended.code, int):
            _end_past_threads(ended.code)
        raise
    except Exception as error:
        if (text := blamed(error)) is None:
            raise
        _log.debug("the traceback", exc_info=True)
        end(f"Error: {one_line(text)}", 1)


def _end_past_threads(status: int) -> None:
    """End the program here where a thread still is in a library, as of a camera.

    Python would stop such a thread within the library's C++, and that ends the process
    by SIGABRT ("terminate called without an active exception") in place of `status`.
    """
    # As Python does first: pools are told to end, and threads that are no daemons
    # joined.
    threading._shutdown()  # type: ignore[attr-defined]
    if threading.enumerate() == [threading.main_thread()]:
        return
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a reader that has gone
            stream.flush()
    os._exit(status)


def blamed(error: Exception) -> str | None:
    """What to tell of `error`; None where it is no fault of the machine."""
    if isinstance(error, ImportError):
        return broken_package(error)
    if lacks_memory(error):
        return TOO_LITTLE
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{ascii(error.object)[:80]} cannot be written in this locale's encoding, "
            f"{error.encoding}; run it with: LC_ALL=C.UTF-8"
        )
    if isinstance(error, ValueError) and "null byte" in str(error):
        return "a name of a file holds a NUL, which none can have"
    if isinstance(error, OSError):
        if _module_of(error, "<module>"):  # what ctypes says of a missing library
            return broken_package(error)
        return _told(error)
    return None


def lacks_memory(error: BaseException) -> bool:
    """Whether `error` is what somebody's library says where memory is too small."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    libraries = isinstance(error, (RuntimeError, ImportError, OSError))
    if libraries or type(error).__module__ == "cv2":
        text = str(error)
        return _NO_THREAD in text or _NO_MEMORY.search(text) is not None
    return False


def told(error: Exception) -> str:
    """The one line of an error of ours; says so where memory is what was missing."""
    text, cause = str(error), error.__cause__
    lacks = _NO_MEMORY.search(text) is not None  # what another process said, perhaps
    while cause is not None:
        lacks, cause = lacks or lacks_memory(cause), cause.__cause__
    if lacks and "memory" not in text:
        text += ": there is too little memory for it"
    return one_line(text)


def require_address_space() -> None:
    """End the program where it may have less memory than its libraries need to load.

    Less than that is ``ulimit -v``; what a container limits ends it in another way.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    least, limit = _LEAST_ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < least:
        end(
            f"Error: memory is limited to {limit >> 20} MiB, wanted {least >> 20} MiB "
            "or more for the libraries alone; run: ulimit -v unlimited",
            1,
        )


def broken_package(error: Exception) -> str | None:
    """What to tell of a package that does not load; None where it is one of ours."""
    if isinstance(error, ImportError):
        name = error.name or _module_of(error)
    else:
        name = _module_of(error, "<module>")
    package = name.partition(".")[0]
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        # A library inside may call itself something else, such as _C.
        around = _module_of(error).partition(".")[0]
        if around and not _installed(package) and _installed(around):
            package = around
    if package in ("", "derain") or package in sys.stdlib_module_names:
        return None
    if isinstance(error, ModuleNotFoundError) and not _installed(package):
        return f"{package} is not installed; run: pip install {_distribution(package)}"
    reason = " ".join(str(error).split())[:200]
    if lacks_memory(error):
        return f"there is too little memory to load {package}: {reason}".rstrip(": ")
    return (
        f"{package} is installed but does not load: {reason}; run: pip install "
        f"--force-reinstall --no-deps {_distribution(package)}"
    )


def _module_of(error: BaseException, function: str = "") -> str:
    """The package whose own code failed last, or whose `function` did; else nothing."""
    name = ""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        found = str(frame.f_globals.get("__name__", ""))
        foreign = not found.startswith(("derain", "__main__", "importlib", "ctypes"))
        if foreign and function in ("", frame.f_code.co_name):
            name = found
        trace = trace.tb_next
    return name


# Reads a file of each package that is installed.
_distributions = functools.cache(importlib.metadata.packages_distributions)


def _installed(package: str) -> bool:
    return package in _distributions()


def _distribution(package: str) -> str:
    found = _distributions().get(package)
    return found[0] if found else _DISTRIBUTIONS.get(package, package)


def _told(error: OSError) -> str:
    if _module_of(error, "echo") == "click.utils":
        with contextlib.suppress(OSError, ValueError):  # or it fails at exit, too
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written: {error.strerror or error}"
    names = [os.fsdecode(x) for x in (error.filename, error.filename2) if _is_name(x)]
    return ": ".join([*names, error.strerror or str(error)])


def one_line(text: str) -> str:
    """`text` for a terminal: no control characters, which may come out of any file.

    Of one that is very long, the middle is left out: what to do stands at the end.
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= _MOST else f"{line[:_HEAD]} ... {line[-_TAIL:]}"


def printable(text: str) -> str:
    """`text` with what is no character to see, as Python would write it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _is_name(value: object) -> bool:
    return isinstance(value, (str, bytes)) and bool(value)


def end(line: str, status: int) -> NoReturn:
    """End the program with a line on standard error."""
    with contextlib.suppress(OSError):  # there may be nobody left to tell
        click.echo(line, err=True)
    raise SystemExit(status)


def _open_standard_streams() -> None:
    """Give numbers 0 to 2 to nothing else, and let every name be written.

    Where a stream is closed, the next file to be opened would take its number, and what
    a library prints would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
