"""A bundle that has passed its self-test, deraining frames."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import (
    EngineError,
    MissingDependencyError,
    ShapeError,
    StateError,
)
from derain.core.frame_limit import frame_limit
from derain.core.metrics import psnr_db
from derain.runtime.backends import (
    AUTO,
    BACKENDS,
    backend_entry,
    candidates,
    check_backend,
    open_backend,
)
from derain.runtime.backends.protocol import Backend, StageTimes, stop_of
from derain.runtime.session import Session

_log = logging.getLogger(__name__)


def load(
    bundle: Bundle | Path | str, backend: str = AUTO, threads: int = 0
) -> Derainer:
    """Load a bundle, ready to derain frames.

    Args:
        bundle: The folder that ``derain-export`` made, or an opened `Bundle`.
        backend: What runs it, see `derain.runtime.backends.BACKENDS`; ``"auto"`` takes
            the fastest that works here, and logs which and why;
            ``"triton://HOST:PORT/MODEL"`` a server.
        threads: Processor threads; 0 takes one per core.

    Returns:
        What derains one frame, or a stream of them; a context manager.

    Raises:
        BundleError: It is not a bundle, or is damaged.
        UnknownNameError: There is no such backend.
        MissingDependencyError: The backend's optional package is not installed.
        EngineError: The backend cannot run the bundle, or fails the self-test.

    Example:
        >>> import derain
        >>> with derain.load("qsnet-fp32-1280x720", backend="auto") as model:
        ...     clean = model(frame)  # (720, 1280, 3) uint8 BGR
        >>> clean.shape == frame.shape
        True
    """
    return Derainer(bundle, backend, threads)


class Derainer(Session):
    """Derains frames with a bundle; what `load` returns.

    The bundle's golden clip is run first, so that a broken engine is found before the
    first real frame (silent zeros and NaNs happen in practice).

    Its calls are a `Session` by themselves; `session` opens more of them, each with a
    memory of its own: several cameras, one network.

    It belongs to the thread that opened it: use one per thread.

    Attributes:
        bundle: What is running.
        backend: What runs it, a key of `derain.runtime.backends.BACKENDS`, or an
            address.
        golden_psnr_db: How close the golden clip came to the expected pictures; its
            worst frame.

    Raises:
        DerainError: See `load`, `derain` and `stream`.

    Example:
        >>> import derain
        >>> with derain.Derainer("qsnet-fp32-1280x720", "onnxruntime") as model:
        ...     for clean in model.stream(frames):  # valid until the next one
        ...         print(clean.dtype)
        uint8
        uint8
    """

    def __init__(
        self, bundle: Bundle | Path | str, backend: str = AUTO, threads: int = 0
    ) -> None:
        """Load `bundle` and run its self-test; see `load`."""
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(Path(bundle))
        self.bundle = bundle
        self._sessions: WeakSet[Session] = WeakSet()
        if backend == AUTO:
            self._open_fastest(threads)
        else:
            self._open(backend, threads)

    @property
    def advice(self) -> str | None:
        """What would be faster than this backend for this precision, or None."""
        return backend_entry(self.backend).advice(self.bundle.manifest.precision)

    def _open_fastest(self, threads: int) -> None:
        precision = self.bundle.manifest.precision
        *faster, reference = candidates(self.bundle)
        for name in faster:
            try:
                if not BACKENDS[name].compiled:
                    check_backend(name)
            except (EngineError, MissingDependencyError) as error:
                _log.debug(f"not {name}: {error}")  # nobody has installed it
                continue
            try:
                self._open(name, threads)
            except (EngineError, MissingDependencyError) as error:
                _log.warning(f"not {name}: {error}; the next fastest is tried")
                continue
            break
        else:
            self._open(reference, threads)
        _log.info(
            f"backend: {self.description}, the fastest that works here for {precision}"
        )
        if self.advice is not None:
            _log.warning(self.advice)

    def _open(self, name: str, threads: int) -> None:
        self.backend = name
        backend = open_backend(name, self.bundle, threads)
        with ExitStack() as stack:
            stack.callback(backend.close)
            super().__init__(backend, self.bundle)
            stack.callback(super().close)
            self.golden_psnr_db = self._test_itself()
            stack.pop_all()

    def __enter__(self) -> Derainer:
        return self

    @property
    def description(self) -> str:
        """What really runs the graph."""
        return self._backend.description

    @property
    def notes(self) -> Sequence[str]:
        """What is slower than it could be, and why; complete after a few frames."""
        return self._backend.notes

    @property
    def times(self) -> StageTimes | None:
        """How long the last frame took, stage by stage."""
        return self._backend.times

    def session(self) -> Session:
        """Open a stream of frames of its own, with its own memory, on this network.

        It ends with its `Session.close`, or with this derainer's `close`.
        """
        session = Session(self._backend, self.bundle)
        self._sessions.add(session)
        return session

    @property
    def shared_backend(self) -> Backend:
        """What runs the graph for all sessions; closed by `close` alone."""
        return self._backend

    def owns(self, session: Session) -> bool:
        """Whether `session` is one of this derainer's, or itself."""
        return session is self or session in self._sessions

    def close(self) -> None:
        """Free the sessions and the backend. Calling it twice is harmless."""
        with ExitStack() as stack:  # whatever fails, the others are freed
            stack.callback(self._backend.close)
            stack.callback(super().close)
            for session in list(self._sessions):
                stack.callback(session.close)

    def _test_itself(self) -> float:
        rainy, expected = self.bundle.golden_clip()
        worst = math.inf
        try:
            with frame_limit(stop_of(self._backend)):
                for got, wanted in zip(self._clip(rainy), expected, strict=True):
                    worst = min(worst, self._compare(got, wanted))
        except ShapeError as error:
            raise EngineError(f"self-test failed: golden {error}") from error
        except StateError as error:
            raise EngineError(f"self-test failed: {error}") from error
        self.reset()
        return worst

    def _clip(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """The derained `frames`, one call of `derain` after the other."""
        for frame in frames:
            derained = self.derain(frame)
            if derained is not None:
                yield derained
        yield from self.flush()

    def _compare(self, got: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
        """How close a golden frame came, in dB."""
        if got.shape != expected.shape:
            raise EngineError(
                f"self-test failed: {self.description} returned {got.shape}, "
                f"wanted {expected.shape}"
            )
        psnr = psnr_db(got, expected)
        wanted = self.bundle.manifest.golden.min_psnr_db
        if psnr < wanted:
            raise EngineError(
                f"self-test failed: {self.description} is {psnr:.1f} dB from the "
                f"expected picture, wanted {wanted:.0f} dB; do not use its output"
            )
        return psnr
