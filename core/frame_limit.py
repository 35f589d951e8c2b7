"""An end for what may loop for ever: a graph that somebody else made."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from derain.core.errors import EngineError

# Seconds for one frame, or a self-test. The slowest that we ship, DCSFN, takes a minute
# for a frame of 1280x720 on two cores of a server.
FRAME_SECONDS = 600.0
VARIABLE = "DERAIN_FRAME_SECONDS"
_MOST = 1e6  # twelve days; a timer ends at a few hundred years


@contextlib.contextmanager
def frame_limit(stop: Callable[[], object]) -> Iterator[None]:
    """Have `stop` called where the block takes longer than a frame may.

    Args:
        stop: Called in another thread; lets what the block waits for fail.

    Raises:
        EngineError: The block failed after that; or what `VARIABLE` says, in place of
            `FRAME_SECONDS`, is no number of seconds.
    """
    seconds, expired = frame_seconds(), threading.Event()

    def expire() -> None:
        expired.set()
        stop()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:  # whatever it is that `stop` comes to
        if not expired.is_set():
            raise
        raise EngineError(too_long(seconds)) from error
    finally:
        timer.cancel()


def too_long(seconds: float) -> str:
    """What to tell where a frame was given up after `seconds`."""
    return (
        f"the graph is not done with a frame after {seconds:g} s: it may loop for "
        f"ever; where it is only slow, set {VARIABLE} to more seconds"
    )


def frame_seconds() -> float:
    """How long a frame may take.

    Raises:
        EngineError: What `VARIABLE` says is no number of seconds.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return FRAME_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MOST:
        raise EngineError(
            f"{VARIABLE} is {text[:40]!r}, wanted seconds, at most {_MOST:g}"
        )
    return seconds
