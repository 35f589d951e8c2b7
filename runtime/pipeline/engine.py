"""The network of a run: one engine, and a memory for each camera on it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from derain.core.bundle import Bundle
from derain.core.sizes import Size
from derain.runtime.backends import AUTO
from derain.runtime.derainer import Derainer
from derain.runtime.frame_sizes import BundleChoice
from derain.runtime.pipeline.options import RunOptions
from derain.runtime.session import Session

_log = logging.getLogger(__name__)


class Engine:
    """The bundles of a run, loaded once for all of its cameras.

    It belongs to the thread that calls `load`.

    Args:
        bundle: A bundle or its folder; or what was made of it, which stays open, and
            whose backend and threads are taken.
        options: Which others there are, and what runs them.

    Attributes:
        bundles: All of them, the first one first.

    Raises:
        BundleError: One is none.
    """

    def __init__(
        self, bundle: Bundle | Derainer | Path | str, options: RunOptions
    ) -> None:
        if isinstance(bundle, (str, Path)):
            bundle = Bundle.open(bundle)
        self._given = None if isinstance(bundle, Bundle) else bundle
        first = bundle if isinstance(bundle, Bundle) else bundle.bundle
        others = [Bundle.open(Path(path)) for path in options.bundles]
        self.bundles = (first, *others)
        self._options = options
        self._taken: set[Session] = set()

    def load(self, stack: ExitStack) -> Derainer:
        """Load the first bundle; what is loaded now and later ends with `stack`.

        Raises:
            DerainError: It does not run here.
        """
        options, (first, *others) = self._options, self.bundles
        load = partial(Derainer, backend=options.backend, threads=options.threads)
        if self._given is None:
            self._derainer = stack.enter_context(load(first))
        else:
            self._derainer = self._given
        derainer = self._derainer
        if options.backend != AUTO and derainer.advice is not None:
            _log.warning(derainer.advice)
        self._choice = BundleChoice(derainer, others, load)
        stack.enter_context(closing(self._choice))
        return derainer

    def memory(self) -> CameraMemory:
        """A memory for one more camera, which is to be closed."""
        return CameraMemory(self._derainer, self._choice.choose, self._taken)

    @property
    def has_choice(self) -> bool:
        """Whether frames of other sizes go through another bundle."""
        return len(self.bundles) > 1


class CameraMemory:
    """The sessions of one camera, one for each bundle that its frames have needed.

    Args:
        first: The bundle that takes frames where no other does.
        choose: Which derainer takes frames of a size.
        taken: Derainers whose own memory a camera has; shared by all cameras. The first
            one to come takes that, as there is room for it already.

    Attributes:
        session: Of the first bundle.
    """

    def __init__(
        self, first: Derainer, choose: Callable[[Size], Derainer], taken: set[Session]
    ) -> None:
        self._choose = choose
        self._taken = taken
        self._sessions: dict[Derainer, Session] = {}
        self.session = self._of(first)

    def choose(self, size: Size) -> Session:
        """The session that takes frames of `size`.

        Raises:
            EngineError: The bundle for this size does not run here.
        """
        return self._of(self._choose(size))

    def close(self) -> None:
        """Free what only this camera needs."""
        for derainer, session in self._sessions.items():
            if session is derainer:
                self._taken.discard(session)
                session.reset()
            else:
                session.close()
        self._sessions.clear()

    def _of(self, derainer: Derainer) -> Session:
        session = self._sessions.get(derainer)
        if session is None:
            session = derainer if derainer not in self._taken else derainer.session()
            self._taken.add(derainer)
            self._sessions[derainer] = session
        return session
