"""A bundle that has passed its self-test, deraining frames."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, MissingDependencyError, ShapeError
from derain.core.metrics import psnr_db
from derain.core.sizes import Size
from derain.runtime.backends import (
    AUTO,
    BACKENDS,
    candidates,
    check_backend,
    open_backend,
)
from derain.runtime.backends.protocol import Backend, StageTimes

_log = logging.getLogger(__name__)


def load(
    bundle: Bundle | Path | str, backend: str = AUTO, threads: int = 0
) -> Derainer:
    """Load a bundle, ready to derain frames.

    ::

        with derain.load("qsnet-fp32-1280x720") as model:
            clean = model(frame)

    Args:
        bundle: The folder that ``derain-export`` made, or an opened `Bundle`.
        backend: What runs it, see `derain.runtime.backends.BACKENDS`; ``"auto"`` takes
            the fastest that works here, and logs which and why.
        threads: Processor threads; 0 takes one per core.

    Raises:
        BundleError: It is not a bundle, or is damaged.
        UnknownNameError: There is no such backend.
        MissingDependencyError: The backend's optional package is not installed.
        EngineError: The backend cannot run the bundle, or fails the self-test.
    """
    return Derainer(bundle, backend, threads)


class Derainer:
    """Derains frames with a bundle: ``with Derainer(folder) as model: model(frame)``.

    The bundle's golden frame is run first, so that a broken engine is found before the
    first real frame (silent zeros and NaNs happen in practice).

    It belongs to the thread that opened it: use one per thread.

    Attributes:
        bundle: What is running.
        backend: What runs it, a key of `derain.runtime.backends.BACKENDS`.
        golden_psnr_db: How close the golden frame came to the expected picture.
    """

    def __init__(
        self, bundle: Bundle | Path | str, backend: str = AUTO, threads: int = 0
    ) -> None:
        """Load `bundle` and run its self-test; see `load`."""
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(Path(bundle))
        self.bundle = bundle
        self._sizes = bundle.manifest.sizes
        if backend == AUTO:
            self._open_fastest(threads)
        else:
            self._open(backend, threads)

    @property
    def advice(self) -> str | None:
        """What would be faster than this backend for this precision, or None."""
        return BACKENDS[self.backend].advice(self.bundle.manifest.precision)

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
        self._backend: Backend = open_backend(name, self.bundle, threads)
        self._memory = self._backend.new_memory()
        try:
            self.golden_psnr_db = self._test_itself()
        except BaseException:
            self._backend.close()
            raise

    def __enter__(self) -> Derainer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `derain`."""
        return self.derain(frame)

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

    def derain(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Remove the rain from `frame`.

        Args:
            frame: `(H, W, 3)` uint8 BGR, of a size in ``bundle.manifest.sizes``.

        Returns:
            The derained frame, same shape and dtype; valid until the next call, and not
            after `close`.

        Raises:
            ShapeError: The frame is of another size, shape or dtype.
            EngineError: The backend failed.
        """
        derained = self._backend.infer(self._checked(frame), self._memory)
        return derained.reshape(frame.shape)

    def stream(
        self, frames: Iterable[NDArray[np.uint8]]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Remove the rain from many frames, several at a time where that is faster.

        Args:
            frames: Each as for `derain`. Up to three are asked for ahead.

        Yields:
            The derained frames, in order; each is valid until the next one is asked
            for. If `frames` raises, what came before is yielded first.

        Raises:
            ShapeError: A frame is of another size, shape or dtype.
            EngineError: The backend failed, or another stream is running.
        """
        self.reset()
        checked = map(self._checked, frames)
        with closing(self._backend.stream(checked, self._memory)) as derained:
            for frame in derained:
                yield frame[0]

    def reset(self) -> None:
        """Forget the frames so far: the next one begins another clip.

        A bundle without states remembers nothing, and nothing is done.
        """
        self._memory.reset()

    def close(self) -> None:
        """Free the backend. Calling it twice is harmless."""
        self._backend.close()

    def _checked(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`frame` as the backend takes it, `(1, H, W, 3)`."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ShapeError(
                f"frame: got {frame.shape} {frame.dtype}, wanted (H, W, 3) uint8 BGR"
            )
        size = Size(frame.shape[1], frame.shape[0])
        if size not in self._sizes:
            raise ShapeError(
                f"frame is {size}, the bundle takes {self._sizes}; "
                f"run: derain-export --model {self.bundle.manifest.model} "
                f"--{self.bundle.manifest.precision} --size {size} (or use --resize)"
            )
        return np.ascontiguousarray(frame)[np.newaxis]

    def _test_itself(self) -> float:
        rainy, expected = self.bundle.golden_frames()
        try:
            got = self.derain(rainy)
        except ShapeError as error:
            raise EngineError(f"self-test failed: golden {error}") from error
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
