"""Rows at work: in a process of their own, or in this one.

A process for each row is what makes its memory, its start-up time and its allocator its
own, and what keeps the others alive when it dies. While the others take their turn it
sleeps.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from derain.benchmarks.latency.candidate import Candidate, Frame, FrameMemory
from derain.benchmarks.latency.candidates import CandidateSpec, open_candidate
from derain.core.errors import CandidateError, DerainError
from derain.core.frame_limit import frame_seconds, too_long

_CLOSE_SECONDS = 20.0
# To start, load and test itself a row may take as long as so many frames, whose own
# limit ends a self-test first.
_OPENING_FRAMES = 4
_MOST_SECONDS = 1e6  # what a poll can wait for, in milliseconds, is 31 bits
_LONGEST = 400  # characters of an error; all of it is in the traceback


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames derained one after the other.

    Attributes:
        latencies_ms: From frame to frame, of each, in order.
        splits_ms: The stages of each, by name.
    """

    latencies_ms: list[float]
    splits_ms: list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Most memory so far, of the row's process; None where it cannot be told."""

    host_bytes: int | None
    device_bytes: int | None


class Runner(Protocol):
    """A row that has been opened.

    Attributes:
        description: What really runs.
        remembers: What it keeps between frames.
    """

    description: str
    remembers: FrameMemory

    def sample(self, count: int) -> Sample:
        """Derain `count` frames, each timed by itself."""
        ...

    def stream_seconds(self, count: int) -> float:
        """How long `count` frames take, handed over one after the other."""
        ...

    def derain(self, frames: Sequence[Frame]) -> list[Frame]:
        """The derained `frames`, untimed: a clip by itself, which leaves no memory."""
        ...

    def memory(self) -> PeakMemory:
        """Most memory so far."""
        ...

    def close(self) -> None:
        """Free it. Calling it twice is harmless."""
        ...


class LocalRunner:
    """A row in this process.

    Args:
        candidate: What derains.
        frames: The frames to derain, again and again.
    """

    def __init__(self, candidate: Candidate, frames: Sequence[Frame]) -> None:
        self._candidate = candidate
        self._frames = frames
        self._next = 0
        self.description = candidate.description
        self.remembers = candidate.memory

    def sample(self, count: int) -> Sample:
        """See `Runner.sample`."""
        latencies, splits = [], []
        for _ in range(count):
            frame = self._take()
            started = time.perf_counter()
            derained = self._candidate.infer(frame)
            latencies.append((time.perf_counter() - started) * 1000)
            splits.append(dict(self._candidate.split_ms))
            if derained is not None:  # the first ones, with look-ahead
                _check(derained, frame)
        return Sample(latencies, splits)

    def stream_seconds(self, count: int) -> float:
        """See `Runner.stream_seconds`."""
        started = time.perf_counter()
        for _ in range(count):
            self._candidate.infer(self._take())
        return time.perf_counter() - started

    def derain(self, frames: Sequence[Frame]) -> list[Frame]:
        """See `Runner.derain`."""
        late = self.remembers.look_ahead
        derained: list[Frame] = []
        self._candidate.reset()
        for index, frame in enumerate([*frames, *[frames[-1]] * late]):
            result = self._candidate.infer(frame)
            if index >= late:
                _check(result, frame)
                assert result is not None  # `_check` says so
                derained.append(result.copy())
        self._candidate.reset()
        return derained

    def memory(self) -> PeakMemory:
        """See `Runner.memory`; a process that others share has no figure."""
        return PeakMemory(None, self._candidate.device_bytes())

    def close(self) -> None:
        """See `Runner.close`."""
        self._candidate.close()

    def _take(self) -> Frame:
        frame = self._frames[self._next % len(self._frames)]
        self._next += 1
        return frame


def _check(derained: Frame | None, frame: Frame) -> None:
    if derained is None:
        raise CandidateError("it made no picture of a frame")
    if derained.shape != frame.shape or derained.dtype != np.uint8:
        raise CandidateError(
            f"it made {derained.shape} {derained.dtype} of {frame.shape} uint8"
        )


class RemoteRunner:
    """A row in a process of its own.

    Args:
        spec: The row.
        frames: The frames to derain.
        log: File for what its libraries print.

    Raises:
        CandidateError: It cannot be opened.
    """

    def __init__(self, spec: CandidateSpec, frames: Sequence[Frame], log: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, spec, list(frames), log), daemon=True
        )
        threads = str(spec.threads)
        libraries = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        variables = libraries | spec.entry.environment
        with _environment(variables), _without_main():
            self._process.start()
        other.close()
        try:
            self.description: str
            self.description, self.remembers = self._answer(_OPENING_FRAMES)
        except BaseException:
            self.close()
            raise

    def sample(self, count: int) -> Sample:
        """See `Runner.sample`."""
        sample: Sample = self._ask("sample", count, frames=count)
        return sample

    def stream_seconds(self, count: int) -> float:
        """See `Runner.stream_seconds`."""
        return float(self._ask("stream_seconds", count, frames=count))

    def derain(self, frames: Sequence[Frame]) -> list[Frame]:
        """See `Runner.derain`."""
        late = self.remembers.look_ahead
        derained: list[Frame] = self._ask(
            "derain", list(frames), frames=len(frames) + late
        )
        return derained

    def memory(self) -> PeakMemory:
        """See `Runner.memory`: all of the process, interpreter and libraries too."""
        memory: PeakMemory = self._ask("memory")
        return PeakMemory(_peak_bytes(self._process.pid), memory.device_bytes)

    def close(self) -> None:
        """See `Runner.close`."""
        self._connection.close()  # which is what tells it to end
        self._process.join(_CLOSE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, method: str, *arguments: object, frames: int = 1) -> Any:
        try:
            self._connection.send((method, arguments))
        except OSError as error:
            raise self._death() from error
        return self._answer(frames)

    def _answer(self, frames: int) -> Any:
        """What it says, in the time that so many frames may take at most."""
        seconds = frame_seconds()
        try:
            if not self._connection.poll(min(frames * seconds, _MOST_SECONDS)):
                self._process.kill()  # nothing else stops a library in its middle
                raise CandidateError(too_long(seconds))
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if kind == "error":
            raise CandidateError(*value)
        return value

    def _death(self) -> CandidateError:
        self._process.join(_CLOSE_SECONDS)
        status = self._process.exitcode
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return CandidateError(f"its process was ended by {name}{memory}")
        return CandidateError(f"its process ended with exit status {status}")


def _serve(
    connection: Connection, spec: CandidateSpec, frames: list[Frame], log: Path
) -> None:
    """The life of a row's process."""
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        # Where memory runs out, this row is what the kernel shall end.
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent closes the connection
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with contextlib.closing(open_candidate(spec)) as candidate:
            runner = LocalRunner(candidate, frames)
            connection.send(("done", (runner.description, runner.remembers)))
            while True:
                method, arguments = connection.recv()
                connection.send(("done", getattr(runner, method)(*arguments)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # closed
    except Exception as error:  # a row that fails is a row with its error
        connection.send(("error", error_arguments(error)))


def error_arguments(error: Exception) -> tuple[str, str]:
    """What `CandidateError` is made of, for any error of a row."""
    if isinstance(error, CandidateError):
        return str(error), error.detail
    if isinstance(error, DerainError):
        return str(error), ""
    text = " ".join(str(error).split())  # OpenVINO says what is wrong in its last line
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return f"{type(error).__name__}: {text}", traceback.format_exc()


def _peak_bytes(pid: int | None) -> int | None:
    """Most resident memory of a process so far; None where Linux does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024 if "VmHWM" in fields else None


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let a child not run the script again that started it.

    It needs nothing of it, and the user's script need not be guarded for that.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's environment with `variables`, for a child to inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
