"""Run a request in a process of its own, so that a crash there is an error here."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from derain.runtime.errors import EngineError

_TICK_S = 0.5
_SHOWN_CHARACTERS = 300
_COMMAND = (sys.executable, "-m", "derain.runtime.tensorrt.child")


def run_child(
    request: Mapping[str, Any],
    on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
    descriptors: Sequence[int] = (),
) -> dict[str, Any]:
    """Send `request` to a new process of `derain.runtime.tensorrt.child`.

    The process is gone when this returns or raises, on Ctrl-C too. When this process is
    killed, it ends itself.

    Args:
        request: What it shall do.
        on_event: Called with every event but the last, and with an empty one twice a
            second meanwhile. What it raises ends the process.
        descriptors: Open files that it inherits.

    Returns:
        The result.

    Raises:
        EngineError: It reports an error, or crashes, or is killed.
    """
    answer: Mapping[str, Any] = {}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for us: native code may hang on it
            bufsize=0,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, json.dumps(request).encode() + b"\n")
            for event in _events(process.stdout):
                if "result" in event or "error" in event:
                    answer = event
                    break
                on_event(event)
            if not answer:
                process.wait()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        said = _said(log)
    if "error" in answer:
        raise EngineError(str(answer["error"]))
    if "result" not in answer:
        raise EngineError(_end(request, process.returncode, said))
    return dict(answer["result"])


def _send(pipe: IO[bytes], data: bytes) -> None:
    try:
        pipe.write(data)
    except BrokenPipeError:  # it is gone already: how it ended says why
        return


def _events(pipe: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """The events as they come, and empty ones meanwhile."""
    pending = b""
    while True:
        if not select.select([pipe], [], [], _TICK_S)[0]:
            yield {}
            continue
        data = pipe.read(1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _said(log: IO[bytes]) -> list[str]:
    """What the process wrote to standard error."""
    log.seek(0)
    text = log.read().decode(errors="replace")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _end(request: Mapping[str, Any], status: int, said: list[str]) -> str:
    """One line about a process that ended without an answer."""
    name = request.get("backend") or request["build"]["backend"]
    last = f"; its last words: {said[-1][:_SHOWN_CHARACTERS]}" if said else ""
    if status >= 0:
        return f"the process of {name} ended with status {status}{last}"
    number = -status
    try:
        which = signal.Signals(number).name
    except ValueError:
        which = f"signal {number}"
    if number == signal.SIGKILL:
        return (
            f"the process of {name} was killed ({which}), as Linux does when memory "
            f"runs out; free some, or try a smaller --workspace{last}"
        )
    return (
        f"{name} crashed ({which}): derain-compile --check shows whether it takes the "
        f"graph; a smaller --optimization-level may avoid it{last}"
    )
