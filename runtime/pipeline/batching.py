"""Frames of several cameras in one call of the network, where that is faster.

A bundle of ``derain-export --batch N`` has a second graph for it. Whether that gains
anything is a matter of the machine: a GPU that one small frame does not fill does more
in the same time, a processor that one frame fills does not. So it is measured when the
run starts, and taken from as many frames on as it gains with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import DerainError, EngineError, StateError
from derain.core.frame_limit import frame_limit
from derain.core.metrics import psnr_db
from derain.runtime.backends.protocol import BatchedGraph, BatchingBackend, stop_of
from derain.runtime.derainer import Derainer
from derain.runtime.session import NetworkCall, Session

_log = logging.getLogger(__name__)

# Rounds of one call of either kind: enough for the least time of each to say something,
# unless they take longer than anybody waits for a start.
_ROUNDS, _LEAST_ROUNDS, _SECONDS = 10, 2, 2.0
# Whoever is first in a batch waits for all of it: a tie is no reason for one.
_GAIN = 0.95


def fewest(single_s: float, batch_s: float, size: int) -> int | None:
    """From how many frames on one call for all is faster; None: not even `size`.

    Args:
        single_s: Of a call with one frame, in seconds.
        batch_s: Of a call of the second graph, however many of its rows are filled.
        size: Its rows.
    """
    for count in range(2, size + 1):
        if batch_s < _GAIN * count * single_s:
            return count
    return None


class Batching:
    """Runs the calls of several cameras together where that is faster.

    Args:
        derainer: Whose sessions they are.
        graph: Its second graph, loaded; `close` closes it.
        single_s: What a call with one frame takes, in seconds.
        batch_s: What one of `graph` takes.
        least: From how many frames on it is taken.
    """

    def __init__(
        self,
        derainer: Derainer,
        graph: BatchedGraph,
        *,
        single_s: float,
        batch_s: float,
        least: int,
    ) -> None:
        self.least = least
        self.size = derainer.bundle.manifest.batch
        self.single_s = single_s
        self.batch_s = batch_s
        self._derainer = derainer
        self._graph = graph

    def keeps(self, left_s: Sequence[float | None]) -> bool:
        """Whether one call for all of several frames makes none late.

        Args:
            left_s: Until each must be out, in their order; None: nothing is said.
        """
        # One that is late with either, or in time with either, does not decide.
        return not any(
            left is not None and turn * self.single_s <= left < self.batch_s
            for turn, left in enumerate(left_s, start=1)
        )

    def kind(self, call: NetworkCall) -> object:
        """What calls that may go together have in common."""
        # Of this derainer: size for size. Of another one: with nobody.
        owned = self._derainer.owns(call.session)
        return call.image.shape if owned else call.session

    def run(self, calls: Sequence[NetworkCall]) -> Iterator[list[NetworkCall]]:
        """Make `calls`, each of a session of its own: together where they may.

        Yields:
            Those that were made; their pictures are valid until the next ones are asked
            for, as sessions may share the place of their pictures.
        """
        alike: dict[object, list[NetworkCall]] = {}
        for call in calls:
            alike.setdefault(self.kind(call), []).append(call)
        for group in alike.values():
            for first in range(0, len(group), self.size):
                yield from self._run(group[first : first + self.size])

    def _run(self, group: list[NetworkCall]) -> Iterator[list[NetworkCall]]:
        if len(group) >= self.least:
            NetworkCall.run_together(group, self._graph)
            yield group
            return
        for call in group:
            call.run()
            yield [call]

    def close(self) -> None:
        """Free the second graph."""
        self._graph.close()


def open_batching(derainer: Derainer) -> Batching | None:
    """Load, test and measure the second graph of a bundle, and say what is chosen.

    It must be called before any camera is served: sessions are opened and closed.

    Returns:
        What runs it; None where the bundle has none, or it gains nothing here.
    """
    size = derainer.bundle.manifest.batch
    if size == 1:
        return None
    backend = derainer.shared_backend
    if not isinstance(backend, BatchingBackend):
        _log.warning(
            f"batches of {size}: {derainer.backend} takes one frame a call here; "
            "frames go one by one"
        )
        return None
    with ExitStack() as stack:
        try:
            graph = stack.enter_context(closing(backend.open_batch()))
            sessions = [stack.enter_context(derainer.session()) for _ in range(size)]
            _test(derainer, graph, sessions)
            single_s, batch_s = measure(derainer, graph, sessions)
        except DerainError as error:
            _log.warning(f"batches of {size}: {error}; frames go one by one")
            return None
        least = fewest(single_s, batch_s, size)
        text = (
            f"batches: {size} frames in one call take {batch_s * 1000:.1f} ms here, "
            f"one frame {single_s * 1000:.1f} ms"
        )
        if least is None:
            _log.info(f"{text}: frames go one by one, which is not slower")
            return None
        _log.info(f"{text}: where {least} or more wait, they go together")
        for session in sessions:
            session.close()
        stack.pop_all()
    return Batching(derainer, graph, single_s=single_s, batch_s=batch_s, least=least)


def measure(
    derainer: Derainer,
    graph: BatchedGraph,
    sessions: Sequence[Session],
    rounds: int = _ROUNDS,
    seconds: float = _SECONDS,
) -> tuple[float, float]:
    """Least seconds of a call with one frame, and of one with a frame of each session.

    They take turns, so that both see the same machine.

    Args:
        derainer: The network.
        graph: Its second graph.
        sessions: As many as that has rows.
        rounds: How often, at most.
        seconds: After which no round begins, but for the first two.

    Raises:
        EngineError: A call failed.
    """
    image, _ = derainer.bundle.golden_frames()
    single_s, batch_s = [], []
    started = time.perf_counter()
    for turn in range(1 + rounds):  # the first one of each is slower
        if turn > _LEAST_ROUNDS and time.perf_counter() - started > seconds:
            break
        call = NetworkCall(sessions[0], image)
        call.run()
        calls = [NetworkCall(each, image) for each in sessions]
        NetworkCall.run_together(calls, graph)
        for each in (call, *calls):
            each.picture()  # raises what failed
        if turn:
            single_s.append(call.took_s)
            batch_s.append(sum(each.took_s for each in calls))
    for session in sessions:
        session.reset()
    return min(single_s), min(batch_s)


def _test(derainer: Derainer, graph: BatchedGraph, sessions: Sequence[Session]) -> None:
    """The self-test of the second graph: the golden clip, a call later in every row.

    Raises:
        EngineError: A row is too far from what is expected.
    """
    manifest = derainer.bundle.manifest
    rainy, expected = derainer.bundle.golden_clip()
    late = manifest.look_ahead
    shown = [*rainy, *[rainy[-1]] * late]
    for turn in range(len(shown) + len(sessions) - 1):
        rows = [k for k in range(len(sessions)) if 0 <= turn - k < len(shown)]
        calls = [NetworkCall(sessions[k], shown[turn - k]) for k in rows]
        with frame_limit(stop_of(graph)):
            NetworkCall.run_together(calls, graph)
            for row, call in zip(rows, calls, strict=True):
                _require_near(
                    call, turn - row - late, row, expected, manifest.golden.min_psnr_db
                )
    for session in sessions:
        session.reset()


def _require_near(
    call: NetworkCall,
    index: int,
    row: int,
    expected: Sequence[NDArray[np.uint8]],
    least_db: float,
) -> None:
    try:
        got = call.picture()
    except StateError as error:
        raise EngineError(f"self-test failed in row {row}: {error}") from error
    if got is None:
        return
    psnr = psnr_db(got, expected[index])
    if psnr < least_db:
        raise EngineError(
            f"self-test failed: row {row} is {psnr:.1f} dB from the expected picture, "
            f"wanted {least_db:.0f} dB"
        )
