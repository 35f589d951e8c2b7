"""Run a request in a process of its own, so that a crash there is an error here."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from derain.core.errors import EngineError

_TICK_S = 0.5
# Native code that runs out of memory may wait for ever for a thread that never started.
_STUCK_S = 120.0
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
            watch = _Watch(process.pid)
            for event in _events(process.stdout):
                if "result" in event or "error" in event:
                    answer = event
                    break
                if not event and watch.is_stuck():
                    answer = {"error": _stuck(request)}
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


class _Watch:
    """Sees that a process works: that it uses processor time."""

    def __init__(self, pid: int) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._used: list[str] = []
        self._since = time.monotonic()

    def is_stuck(self) -> bool:
        # After the name, which may hold anything: state, ..., user and system time.
        used = self._stat.read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        now = time.monotonic()
        if used != self._used:
            self._used, self._since = used, now
        return now - self._since >= _STUCK_S


def _stuck(request: Mapping[str, Any]) -> str:
    return (
        f"{_backend(request)} does nothing any more: no processor time for "
        f"{_STUCK_S:.0f} s, as when memory runs out; free some and try again"
    )


def _backend(request: Mapping[str, Any]) -> str:
    return str(request.get("backend") or request["build"]["backend"])


def _said(log: IO[bytes]) -> list[str]:
    """What the process wrote to standard error."""
    log.seek(0)
    text = log.read().decode(errors="replace")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _end(request: Mapping[str, Any], status: int, said: list[str]) -> str:
    """One line about a process that ended without an answer."""
    name = _backend(request)
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
