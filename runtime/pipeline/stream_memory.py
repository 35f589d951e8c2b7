"""What a network remembers of a stream of frames: what it is fed, and when it forgets.

A bundle with states makes better pictures for what it remembers, as long as that is of
the frames just before. It is given up, and the next frame is a first one again, when

    source    a live source was lost
    size      frames of another size come, be it for another bundle
    cut       another scene begins (`derain.runtime.pipeline.scene_cut`)
    dropped   more than `MISSED` frames in a row did not reach the network
    gate      it is dry: frames go past the network
    nan       a state is no number any more (`StateError`)

Frames that do not reach the network, because they were too late or it was dry, do not
reach its memory either: there is no way into it but through all of the network, which
is the time or the power that was to be saved. How fast a memory spoils, measured on
NTURain a1, where the camera pans (input 29.73 dB), as the minimum of a frame and an
earlier one aligned to it: 1 frame old 32.58 dB, 2 30.68, 3 29.09, 4 27.82, 12 22.90. So
after more than `MISSED` frames in a row, and for a look of the gate, a first frame is
better; fewer are left to networks, which are trained with frames missing.

With look-ahead K, a frame comes out when K more have gone in, or when the memory is
given up: what waits is flushed then. Frames that pass by wait for those before them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import ShapeError, StateError
from derain.core.sizes import Size, SizeRange
from derain.runtime.frame_fit import FrameFit
from derain.runtime.pipeline.scene_cut import SceneCut
from derain.runtime.session import NetworkCall, Session
from derain.runtime.telemetry.statistics import ResetCause, Statistics
from derain.runtime.video.frames import Frame

_log = logging.getLogger(__name__)

MISSED = 3
_MOST_TOLD = 4  # sizes that are fitted; a folder of photographs may have thousands


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """What became of a frame.

    Attributes:
        frame: The frame.
        picture: It without rain, in a buffer that the next call reuses; None: the frame
            is to be passed on as it came.
        started: When the network began with the last frame it needed for it, by
            ``time.perf_counter()``.
        fed: When it was given the frame itself; None where the picture was flushed.
    """

    frame: Frame
    picture: NDArray[np.uint8] | None = None
    started: float = 0.0
    fed: float | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    frame: Frame
    fed: float | None  # None: it passes by
    fit: FrameFit | None = None  # None: the network was given the frame itself
    shown: NDArray[np.uint8] | None = None  # what it was given in its place


class StreamMemory:
    """Feeds frames to a derainer, and says what became of each, in order.

    Of a bundle without states, nothing of what the module says is computed or counted.

    Args:
        derainer: What derains, and remembers.
        statistics: Told of every time that the memory is given up.
        choose: Which derainer takes frames of a size, where there are several; each has
            a memory of its own.
        resize: Fit frames that the bundle does not take into it, and tell so.
        name: What messages call the camera, where there are several.
    """

    def __init__(
        self,
        derainer: Session,
        statistics: Statistics,
        *,
        choose: Callable[[Size], Session] | None = None,
        resize: bool = False,
        name: str = "",
    ) -> None:
        self._statistics = statistics
        self._choose = choose
        self._resize = resize
        self._name = name
        self._fits: dict[tuple[Size, SizeRange], FrameFit] = {}
        self._cut = SceneCut()
        self._last: Frame | None = None  # fed last; None: nothing is remembered
        self._held: deque[Frame] = deque()  # taken, but not yet fed
        self._waiting: deque[_Waiting] = deque()  # fed, or behind one that is
        self._use(derainer)

    @property
    def pending(self) -> int:
        """How many frames have come in and not gone out."""
        return len(self._held) + len(self._waiting)

    def feed(self, frame: Frame) -> Iterator[NetworkResult | NetworkCall]:
        """Give `frame` to the network.

        Yields:
            What becomes of frames; and once the call of the network, which whoever
            iterates has to make before it goes on: alone or with other cameras'.

        Raises:
            ShapeError: The bundle does not take it; it is named.
            EngineError: The backend failed, or none could be opened for this size.
        """
        self._held.append(frame)
        derainer = self._choose(frame.size) if self._choose else self._derainer
        cause = self._cause(frame)
        if derainer is not self._derainer:
            yield from self.end("size")
            self._use(derainer)
        elif cause is not None:
            yield from self.end(cause)
        image, started = self._began(self._held.popleft())
        try:
            call = NetworkCall(derainer, image)
            yield call
            picture = call.picture()
        except StateError:
            yield from self._given_up(len(self._waiting))
            return
        except ShapeError as error:
            raise ShapeError(f"{frame}: {error}") from error
        if picture is not None:
            yield from self._out(picture, started)

    def skip(self, frame: Frame) -> Iterator[NetworkResult]:
        """Let `frame` pass by as it came, behind those that wait."""
        self._held.append(frame)
        if self._is_far_from(frame):
            yield from self.end("dropped")
        self._held.popleft()
        if self._waiting:
            self._waiting.append(_Waiting(frame, None))
        else:
            yield NetworkResult(frame)

    def end(self, cause: ResetCause | None) -> Iterator[NetworkResult]:
        """Give up what is remembered, and flush what waits; harmless when repeated.

        Args:
            cause: Why, for the statistics; None: it is not counted.
        """
        if self._last is None:
            return
        self._forget(cause)
        if self._waiting:
            started = time.perf_counter()
            try:
                with closing(self._derainer.flush()) as pictures:
                    for picture in pictures:
                        yield from self._out(picture, started, flushed=True)
                        started = time.perf_counter()
            except StateError:
                yield from self._given_up(len(self._waiting))
        self._derainer.reset()

    def stream(self, frames: Iterator[Frame | None]) -> Iterator[NetworkResult]:
        """Feed all of `frames`, several at a time where the backend can do that.

        A memory that is given up is the end of one stream, which flushes, and the
        beginning of another one.

        Raises:
            ShapeError: The bundle does not take a frame; it is named.
            EngineError: The backend failed.
        """
        over = False

        def images() -> Iterator[NDArray[np.uint8]]:
            nonlocal over
            while True:
                if not self._held:
                    frame = next(frames, None)
                    over = frame is None
                    if frame is None:
                        return
                    self._held.append(frame)
                cause = self._cause(self._held[0])
                if cause is not None:
                    self._forget(cause)
                    return
                yield self._began(self._held.popleft())[0]

        while self._held or not over:
            try:
                with closing(self._derainer.stream(images())) as pictures:
                    for picture in pictures:
                        last = min(self._look_ahead, len(self._waiting) - 1)
                        yield from self._out(picture, self._waiting[last].fed or 0.0)
            except StateError:
                # The oldest and what it waited for; the others are fed once more.
                yield from self._given_up(self._look_ahead + 1)
                again = [each.frame for each in self._waiting]
                self._waiting.clear()
                self._held.extendleft(reversed(again))
            except ShapeError as error:
                raise ShapeError(f"{self._waiting[-1].frame}: {error}") from error

    def _use(self, derainer: Session) -> None:
        manifest = derainer.bundle.manifest
        self._derainer = derainer
        self._look_ahead = manifest.look_ahead
        self._remembers = bool(manifest.states)
        if self._remembers:
            self._statistics.count_resets()
            derainer.reset()

    def _cause(self, frame: Frame) -> ResetCause | None:
        """Why what is remembered is of no use for `frame`, if it is not."""
        if not self._remembers:
            return None
        is_cut = self._cut.saw(frame.image)
        last = self._last
        if last is None:
            return None
        if frame.losses != last.losses:
            return "source"
        if frame.size != last.size:
            return "size"
        if self._is_far_from(frame):
            return "dropped"
        return "cut" if is_cut else None

    def _is_far_from(self, frame: Frame) -> bool:
        """Whether too many frames lie between `frame` and the one fed last."""
        return self._last is not None and frame.index - self._last.index > MISSED + 1

    def _began(self, frame: Frame) -> tuple[NDArray[np.uint8], float]:
        """Take note that `frame` is fed now.

        Returns:
            What the network is given, and when, by ``time.perf_counter()``.
        """
        now = time.perf_counter()
        fit = self._fit(frame.size)
        image = frame.image if fit is None else fit.into(frame.image)
        shown = None if fit is None else image
        self._waiting.append(_Waiting(frame, now, fit, shown))
        if self._remembers:
            self._last = frame
        return image, now

    def _forget(self, cause: ResetCause | None) -> None:
        self._last = None
        if cause is not None:
            self._statistics.count_reset(cause)

    def _given_up(self, count: int) -> Iterator[NetworkResult]:
        """The oldest `count` frames as they came: their states were no numbers."""
        self._forget("nan")
        for _ in range(min(count, len(self._waiting))):
            yield NetworkResult(self._waiting.popleft().frame)

    def _out(
        self, picture: NDArray[np.uint8], started: float, *, flushed: bool = False
    ) -> Iterator[NetworkResult]:
        """What was made of the oldest frame, and the frames that waited behind it."""
        oldest = self._waiting.popleft()
        frame = oldest.frame
        if oldest.fit is not None and oldest.shown is not None:
            picture = oldest.fit.back(frame.image, oldest.shown, picture)
        yield NetworkResult(frame, picture, started, None if flushed else oldest.fed)
        while self._waiting and self._waiting[0].fed is None:
            yield NetworkResult(self._waiting.popleft().frame)

    def _fit(self, size: Size) -> FrameFit | None:
        """How frames of `size` fit into the bundle; None where they do as they are."""
        if not self._resize or size in (sizes := self._derainer.sizes):
            return None
        fit = self._fits.get((size, sizes))
        if fit is None:
            fit = self._fits[size, sizes] = FrameFit.of(size, sizes)
            self._tell(fit)
        return fit

    def _tell(self, fit: FrameFit) -> None:
        count = len(self._fits)
        text = str(fit) if count <= _MOST_TOLD else "frames of more sizes are fitted"
        level = logging.WARNING if count <= _MOST_TOLD + 1 else logging.DEBUG
        _log.log(level, f"{self._name}: {text}" if self._name else text)
