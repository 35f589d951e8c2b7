"""Opening a source that may keep us waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

from derain.runtime.video.frames import Source

_TICK_S = 0.1


def opened_apart(opened: Callable[[], Source]) -> Source:
    """What `opened` returns, from a thread of its own.

    A pipe that nobody writes to and a camera that hangs hold the thread that opens them
    inside a library, where no signal is seen. The calling thread sees them: when it
    leaves, the other one is left behind, and closes what it opens after all.

    Raises:
        BaseException: What `opened` raises.
    """
    sources: list[Source] = []
    errors: list[BaseException] = []
    turn = threading.Lock()
    deserted = False

    def work() -> None:
        try:
            source = opened()
        # Of any type: it is raised in the thread that waits.
        except BaseException as error:
            errors.append(error)
            return
        with turn:
            if not deserted:
                sources.append(source)
                return
        source.close()

    thread = threading.Thread(target=work, name="opening", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_TICK_S)
    except BaseException:
        with turn:
            deserted = True
        for source in sources:
            source.close()
        raise
    if errors:
        raise errors[0]
    return sources[0]
