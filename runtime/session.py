"""A stream of frames through a network that is loaded, with a memory of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import ShapeError, StateError
from derain.core.sizes import Size, SizeRange
from derain.runtime.backends.protocol import Backend, BatchedGraph, SizedBackend
from derain.runtime.frame_fit import FrameFit


class Session:
    """Derains the frames of one camera, clip or caller; see `Derainer.session`.

    What a network with states remembers is kept from call to call. Another session of
    the same derainer knows nothing of it; but sessions may share the place of their
    pictures: each is valid until the next call of any of them.

    Args:
        backend: What derains; shared, and not closed by this.
        bundle: What it runs.

    Attributes:
        bundle: The same.
    """

    def __init__(self, backend: Backend, bundle: Bundle) -> None:
        self.bundle = bundle
        self._backend = backend
        self._manifest = bundle.manifest
        self._memory = backend.new_memory()
        self._seen = 0  # frames since the start; counted with look-ahead only
        self._last: NDArray[np.uint8] | None = None  # a copy; with look-ahead only

    @property
    def sizes(self) -> SizeRange:
        """Of the frames it takes: an engine may take fewer than its bundle."""
        backend = self._backend
        if isinstance(backend, SizedBackend):
            return backend.sizes
        return self._manifest.sizes

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | Any:
        """As `derain`, but the picture is the caller's own: it may be kept."""
        derained = self.derain(frame)
        return None if derained is None else derained.copy()

    # "| Any": None comes of bundles with look-ahead alone; who has none need not ask.
    def derain(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | Any:
        """Remove the rain from `frame`.

        With a bundle that looks ahead (``bundle.manifest.look_ahead`` frames) the
        picture is that of a frame so many calls ago, and None for as many calls at the
        start; `flush` has the last ones. With states, a frame of another size than the
        one before is the first of another clip.

        Args:
            frame: `(H, W, 3)` uint8 BGR, of a size in ``bundle.manifest.sizes``.

        Returns:
            The derained frame, same shape and dtype; valid until the next call, and not
            after `close`. None as said above.

        Raises:
            ShapeError: The frame is of another size, shape or dtype.
            EngineError: The backend failed.
            StateError: A state is no longer finite: there is no picture of this frame,
                and the next one begins another clip.
        """
        return self._infer(self._given(frame))

    def flush(self) -> Generator[NDArray[np.uint8], None, None]:
        """What is left at the end of a clip, with look-ahead: as many frames as it is.

        The network is shown the last frame again, in place of those to come. The next
        frame begins another clip.

        Yields:
            Derained frames, in order; each is valid until the next one is asked for.

        Raises:
            EngineError: As `derain`; also StateError.
        """
        try:
            for _ in range(self._manifest.look_ahead):
                if self._last is None:
                    return  # no frame came
                derained = self._infer(self._last)
                if derained is not None:
                    yield derained
        finally:
            self.reset()

    def stream(
        self, frames: Iterable[NDArray[np.uint8]]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Remove the rain from a clip, several frames at a time where that is faster.

        It starts afresh, whatever came before, and leaves nothing behind.

        Args:
            frames: Each as for `derain`. Up to three, and those that the network looks
                ahead, are asked for before the first is derained.

        Yields:
            The derained frames, as many and in order; each is valid until the next one
            is asked for. If `frames` raises, what came before is yielded first.

        Raises:
            ShapeError: A frame is of another size, shape or dtype.
            EngineError: The backend failed, or another stream is running.
            StateError: A state is no longer finite; the stream is over.
        """
        self.reset()
        wanted: deque[bool] = deque()  # of the pictures that are to come
        shown = self._shown(map(self._checked, frames), wanted)
        try:
            with closing(self._backend.stream(shown, self._memory)) as derained:
                for frame in derained:
                    if wanted.popleft():
                        yield frame[0]
        finally:
            self.reset()

    def reset(self) -> None:
        """Forget the frames so far: the next one begins another clip.

        A bundle without states remembers nothing, and nothing is done.
        """
        self._memory.reset()
        self._seen = 0
        self._last = None

    def close(self) -> None:
        """Free the memory. Calling it twice is harmless."""
        self._memory.close()

    def _given(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`frame` as the backend takes it, kept where the end of a clip needs it."""
        batch = self._checked(frame)
        if self._manifest.look_ahead:
            if self._last is not None and self._last.shape != batch.shape:
                self.reset()
            self._last = _kept(batch, self._last)
        return batch

    def _infer(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The picture that comes with `batch`, None while it belongs to no frame."""
        try:
            derained = self._backend.infer(batch, self._memory)
        except StateError:
            self.reset()
            raise
        return self._taken(derained)

    def _taken(self, derained: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        if self._seen < self._manifest.look_ahead:
            self._seen += 1
            return None
        picture: NDArray[np.uint8] = derained[0]
        return picture

    def _shown(
        self, frames: Iterable[NDArray[np.uint8]], wanted: deque[bool]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """What the network is shown for `frames`.

        With look-ahead the last frame of a size comes again, in place of those to come.

        Args:
            frames: The frames.
            wanted: Gets, for each, whether its picture belongs to a frame.
        """
        look_ahead = self._manifest.look_ahead
        count, last = 0, None
        try:
            for frame in frames:
                if last is not None and last.shape != frame.shape:
                    yield from self._again(last, count, wanted)
                    count, last = 0, None
                wanted.append(count >= look_ahead)
                count += 1
                if look_ahead:
                    last = _kept(frame, last)
                yield frame
        except Exception:  # raised again, after what came before
            yield from self._again(last, count, wanted)
            raise
        yield from self._again(last, count, wanted)

    def _again(
        self, last: NDArray[np.uint8] | None, count: int, wanted: deque[bool]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """`last`, the end of `count` frames, as often as the network looks ahead."""
        if last is not None:
            for index in range(count, count + self._manifest.look_ahead):
                wanted.append(index >= self._manifest.look_ahead)
                yield last

    def _checked(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`frame` as the backend takes it, `(1, H, W, 3)`."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ShapeError(
                f"frame: got {frame.shape} {frame.dtype}, wanted (H, W, 3) uint8 BGR"
            )
        size = Size(frame.shape[1], frame.shape[0])
        if size not in self._manifest.sizes:
            manifest, scale = self._manifest, FrameFit.of(size, self.sizes).scale
            target = "" if manifest.target == "any" else f" --target {manifest.target}"
            raise ShapeError(
                f"frame is {size}, the bundle takes {manifest.sizes}; run: "
                f"derain-export --model {manifest.model} --{manifest.precision}{target}"
                f" --size {size} (or use --resize: scale {scale:.2f})"
            )
        return np.ascontiguousarray(frame)[np.newaxis]


class NetworkCall:
    """A frame that waits for the network, alone or with those of other sessions.

    Args:
        session: Whose frame it is.
        image: `(H, W, 3)` uint8 BGR.

    Attributes:
        session: The same.
        image: The same.
        took_s: How long the network was busy for it, in seconds: of frames that went
            through it together, an equal share each.
        together: How many went through it with this one, itself included.
    """

    def __init__(self, session: Session, image: NDArray[np.uint8]) -> None:
        self.session = session
        self.image = image
        self.took_s = 0.0
        self.together = 1
        self._picture: NDArray[np.uint8] | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Derain it alone; what fails is raised by `picture`."""
        started = time.perf_counter()
        try:
            self._picture = self.session.derain(self.image)
        except Exception as error:
            self._error = error
        self.took_s = time.perf_counter() - started

    @staticmethod
    def run_together(calls: Sequence[NetworkCall], graph: BatchedGraph) -> None:
        """Derain those of several sessions of one derainer in one call of `graph`.

        Each frame is of one size, and of a session of its own.
        """
        started = time.perf_counter()
        ready: list[tuple[NetworkCall, NDArray[np.uint8]]] = []
        for call in calls:
            try:
                ready.append((call, call.session._given(call.image)))
            except Exception as error:  # of this frame alone
                call._error = error
        outcomes: Sequence[NDArray[np.uint8] | Exception] = ()
        try:
            if ready:
                outcomes = graph.infer(
                    [batch for _, batch in ready],
                    [call.session._memory for call, _ in ready],
                )
        except Exception as error:
            outcomes = [error] * len(ready)
        share = (time.perf_counter() - started) / len(calls)
        for (call, _), outcome in zip(ready, outcomes, strict=True):
            call.together = len(ready)
            if isinstance(outcome, Exception):
                if isinstance(outcome, StateError):
                    call.session.reset()
                call._error = outcome
            else:
                call._picture = call.session._taken(outcome)
        for call in calls:
            call.took_s = share

    def picture(self) -> NDArray[np.uint8] | None:
        """What `Session.derain` returns, after `run` or `run_together`.

        Raises:
            DerainError: What that raises.
        """
        if self._error is not None:
            raise self._error
        return self._picture


def _kept(
    frame: NDArray[np.uint8], place: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """A copy of `frame`, in `place` where there is one."""
    if place is None:
        return frame.copy()
    np.copyto(place, frame)
    return place
