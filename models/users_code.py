"""Running code that somebody else wrote: what it raises is told in one line.

While it runs, CUDA means the processor: see `derain.models.processor`.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

from derain.core.errors import DerainError, NetworkError
from derain.core.lazy import load

# What `derain.core.interrupts` ends the program with after SIGTERM and SIGHUP.
_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGHUP)


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
        with on_processor(), contextlib.redirect_stdout(sys.stderr):
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
        raise NetworkError(f"{what} failed: {brief(error)}") from error


def brief(error: BaseException) -> str:
    """The type and the first line of an error that is not ours."""
    try:
        text = str(error)
    except BaseException:  # an error of somebody's own, with a mistake in it
        text = ""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
